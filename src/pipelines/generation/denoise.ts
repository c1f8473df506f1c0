/**
 * The loop from noise to latents, the same for every family and device. Latents, and what the scheduler keeps of them, stay on the
 * denoiser's device: guidance and the scheduler's step are sums that it works out (`Device.combine`). The host reads them for a preview or a
 * captured tensor, and now and then in the background, as a place to go on from should the device be lost.
 */

import { assertSound, type ValueTally } from '../../runtime/health.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { StepRunner, type Part } from '../../schedulers/step-runner.js'
import type { Scheduler } from '../../schedulers/types.js'
import { orAbort, throwIfAborted } from '../../util/abort.js'
import type { TorchGenerator } from '../../util/random.js'
import { hostTensor } from '../execution/component-host.js'
import { deviceArithmetic } from './device-arithmetic.js'
import { correctionParts, guidedParts, rescaledGuidance, type Guidance } from './guidance.js'
import { latentPreview, type PreviewCoefficients } from './latent-preview.js'
import type { Correction, Predictor } from './predictor.js'
import type { Run, Recorder } from '../run.js'
import type { PlainTensor, StepInfo } from '../types.js'
import type { Device } from '../../runtime/device.js'

export interface DenoiseOptions {
  readonly scheduler: Scheduler
  /** The timestep to begin at, 0 for all. */
  readonly begin: number
  /** [batch, channels, height, width], times the scheduler's initial sigma. */
  readonly latents: PlainTensor
  /** Runs on scaled latents of `batch` or, with guidance, 2 · `batch` (unconditional half first). */
  readonly predictor: Predictor
  readonly guidance: Guidance
  readonly eta: number
  /** Goes on with the numbers that the initial latents began. */
  readonly generator: TorchGenerator
  readonly recorder: Recorder
  readonly run: Run
  readonly onStep: ((step: StepInfo) => void) | undefined
  /** Every how many steps a preview is made, 0 for never, and of what. */
  readonly previewEvery: number
  readonly preview: PreviewCoefficients
  /** Milliseconds that only grow. */
  readonly now?: (() => number) | undefined
}

/** A place to go on from, in host memory: all that the step at `index` needs. */
interface Checkpoint {
  readonly index: number
  readonly latents: Float32Array<ArrayBuffer>
  readonly kept: ReadonlyMap<string, Float32Array<ArrayBuffer>>
  readonly generator: TorchGenerator
}

/** What outlives the device: where to go on from, and how far the caller was told. */
interface Progress {
  checkpoint: Checkpoint
  savedAt: number
  told: number
}

/** A lost device costs the work since the last checkpoint: about this many milliseconds. */
const checkpointEvery = 2000

/** The steps from the initial latents to the last, and again from a checkpoint where their result was lost with its device. */
export class Denoising {
  readonly #options: DenoiseOptions
  readonly #progress: Progress
  readonly #now: () => number

  constructor(options: DenoiseOptions) {
    const { scheduler, recorder, latents, begin: index, generator, now = () => performance.now() } = options
    recorder.keep('timesteps', { dims: [scheduler.timesteps.length], data: Float32Array.from(scheduler.timesteps) })
    const checkpoint = { index, latents: latents.data, kept: new Map<string, never>(), generator: generator.clone() }
    this.#options = options
    this.#progress = { checkpoint, savedAt: now(), told: index }
    this.#now = now
  }

  /**
   * Runs the steps since the last checkpoint, at first all. `take` is given the latents, to dispose.
   * @throws DeviceError `not-finite`, `all-zero`; AbortError; what the predictor throws
   */
  async run<T>(take: (latents: DeviceTensor) => Promise<T>): Promise<T> {
    return this.#options.predictor.recovering(async () => {
      const loop = new DenoisingLoop(this.#options, this.#progress, this.#now)
      try {
        return await take(await loop.run())
      } finally {
        loop.dispose()
      }
    })
  }
}

/** The steps from a checkpoint to the end, or until the device fails. */
class DenoisingLoop {
  readonly #options: DenoiseOptions
  readonly #progress: Progress
  readonly #now: () => number
  readonly #device: Device
  readonly #generator: TorchGenerator
  readonly #runner: StepRunner<DeviceTensor>
  readonly #first: number
  #latents: DeviceTensor
  #taken = false
  /** Of the steps whose work may not be done, the oldest first: checked and told. */
  #inFlight: Promise<void>[] = []
  #saving = false
  #over = false

  constructor(options: DenoiseOptions, progress: Progress, now: () => number) {
    const { predictor, latents } = options
    const { checkpoint } = progress
    this.#options = options
    this.#progress = progress
    this.#now = now
    this.#device = predictor.device
    this.#generator = checkpoint.generator.clone()
    this.#first = checkpoint.index
    const { dims } = latents
    const upload = (data: Float32Array) => this.#device.upload(hostTensor(dims, data), predictor.name)
    this.#latents = upload(checkpoint.latents)
    this.#runner = new StepRunner(
      deviceArithmetic(this.#device, dims, predictor.name, this.#generator),
      new Map([...checkpoint.kept].map(([name, data]) => [name, upload(data)])),
    )
  }

  /** The latents after the last step, which are the caller's from now on. */
  async run(): Promise<DeviceTensor> {
    const { scheduler, run, predictor } = this.#options
    const depth = this.#device.info.capabilities.stepsInFlight
    for (let index = this.#first; index < scheduler.timesteps.length; index++) {
      throwIfAborted(run.signal)
      const { counted } = await this.#step(index)
      this.#inFlight.push(this.#finished(index, counted))
      this.#save(index + 1)
      while (this.#inFlight.length >= depth) await orAbort(Promise.resolve(this.#inFlight.shift()), run.signal)
    }
    await orAbort(Promise.all(this.#inFlight), run.signal)
    assertSound(await this.#device.tally(this.#latents, predictor.name), 'the latents')
    this.#taken = true
    return this.#latents
  }

  /** Gives the device one step's work, with the count of the prediction's broken values. */
  async #step(index: number): Promise<{ readonly counted: Promise<ValueTally> }> {
    const { scheduler, predictor, recorder, guidance, begin, eta, latents } = this.#options
    const { dims } = latents
    const [batch = 1, ...rest] = dims
    const timestep = scheduler.timesteps[index] ?? 0
    const scale = scheduler.inputScale(index)
    const temporary: DeviceTensor[] = []
    const made = <T extends DeviceTensor | undefined>(tensor: T): T => {
      if (tensor !== undefined) temporary.push(tensor)
      return tensor
    }
    const scaled = (copies: number) =>
      scale === 1 && copies === 1
        ? this.#latents
        : made(this.#device.combine([{ tensor: this.#latents, scale }], [copies * batch, ...rest], predictor.name))
    try {
      const prediction = made(await predictor.predict(scaled(guidance === null ? 1 : 2), timestep))
      const counted = this.#device.tally(prediction, predictor.name)
      // Looked at when the step is finished, or never where it fails before.
      counted.catch(() => {})
      if (recorder.wants('noise_pred'))
        recorder.keep('noise_pred', { dims: prediction.dims, data: await prediction.read() }, index - begin)
      const correction =
        (await predictor.refine?.({
          index: index - begin,
          total: scheduler.timesteps.length - begin,
          timestep,
          sample: scaled(1),
        })) ?? null
      made(correction?.without)
      const output = await this.#guided(prediction, correction, made)
      const next = this.#runner.step(scheduler.plan(index, { eta }), this.#latents, output)
      this.#latents.dispose()
      this.#latents = next
      if (recorder.wants('latents')) recorder.keep('latents', { dims, data: await next.read() }, index - begin)
      return { counted }
    } finally {
      for (const tensor of temporary) tensor.dispose()
    }
  }

  /** The output that the scheduler is given. */
  async #guided(
    prediction: DeviceTensor,
    correction: Correction | null,
    made: (tensor: DeviceTensor) => DeviceTensor,
  ): Promise<readonly Part<DeviceTensor>[]> {
    const { guidance, latents, predictor } = this.#options
    if (guidance === null) return [{ value: prediction, scale: 1 }]
    const size = latents.data.length
    const corrected = correction === null ? [] : correctionParts(prediction, size, correction)
    if (guidance.rescale === 0) return [...guidedParts(prediction, size, guidance.scale), ...corrected]
    const rescaled = rescaledGuidance(await prediction.read(), latents.dims[0] ?? 1, guidance)
    return [{ value: made(this.#device.upload(hostTensor(latents.dims, rescaled), predictor.name)), scale: 1 }, ...corrected]
  }

  /** Checks a step when its work is done, and tells the caller. One after the other, each step once. */
  #finished(index: number, counted: Promise<ValueTally>): Promise<void> {
    const { scheduler, begin, onStep, previewEvery, preview, latents, run } = this.#options
    const step = index - begin
    const total = scheduler.timesteps.length - begin
    const wanted = previewEvery > 0 && (step + 1) % previewEvery === 0 && index >= this.#progress.told
    const reading = wanted ? this.#latents.read() : undefined
    const before = this.#inFlight.at(-1)
    const finish = async () => {
      const [tally, data] = await Promise.all([counted, reading, before])
      assertSound(tally, `the denoiser's output at step ${step}`)
      if (this.#over || run.signal?.aborted === true || index < this.#progress.told) return
      this.#progress.told = index + 1
      const picture = data === undefined ? null : latentPreview({ dims: latents.dims, data }, preview)
      onStep?.({ step, total, timestep: scheduler.timesteps[index] ?? 0, preview: picture ?? undefined })
    }
    const finished = finish()
    finished.catch(() => {})
    return finished
  }

  /** Copies what the step at `index` needs to the host, in the background, when the last copy is old. */
  #save(index: number): void {
    const started = this.#now()
    if (this.#saving || started - this.#progress.savedAt < checkpointEvery) return
    this.#saving = true
    const { kept } = this.#runner
    const generator = this.#generator.clone()
    const copies = Promise.all([this.#latents, ...kept.values()].map((tensor) => tensor.read()))
    const save = async () => {
      const [latents = new Float32Array(), ...values] = await copies
      const named = [...kept.keys()].map((name, i) => [name, values[i] ?? new Float32Array()] as const)
      this.#progress.checkpoint = { index, latents, kept: new Map(named), generator }
      this.#progress.savedAt = started
    }
    // Where it fails the checkpoint before stays the one to go on from, and the next step tries again.
    save()
      .catch(() => {})
      .finally(() => {
        this.#saving = false
      })
  }

  /** Gives the device's memory back. What is still under way is not told any more. */
  dispose(): void {
    this.#over = true
    this.#runner.dispose()
    if (!this.#taken) this.#latents.dispose()
  }
}
