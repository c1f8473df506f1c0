/**
 * The loop from noise to latents, the same for every family and device. The latents, and the tensors that the scheduler keeps from step to
 * step, stay on the denoiser's device: guidance and the scheduler's step are sums that the device computes (`Device.combine`). The host
 * computes only guidance with `guidanceRescale` or `cfgNormalization`. It reads these tensors for a preview or a
 * captured tensor, and every two seconds in the background for a checkpoint.
 */

import { assertSound, type ValueTally } from '../../runtime/health.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { StepRunner, type Part } from '../../schedulers/step-runner.js'
import type { Scheduler } from '../../schedulers/types.js'
import { throwIfAborted } from '../../util/abort.js'
import { float32Tensor } from '../tensors.js'
import type { Recorder, Run } from '../run.js'
import { elementCount } from '../../util/element-count.js'
import type { PixelImage, StepInfo } from '../types.js'
import type { Checkpoints } from './checkpoints.js'
import { deviceArithmetic } from './device-arithmetic.js'
import { correctionParts, guidedParts, hasEnded, limitedGuidance, rescaledGuidance, type Guidance } from './guidance.js'
import { latentPreview, type PreviewCoefficients } from '../images/latent-preview.js'
import type { Correction, Predictor } from './predictor.js'
import { StepsInFlight } from './steps-in-flight.js'
import { withTemporary, type Keep } from '../tensors.js'

export interface DenoiseOptions {
  readonly scheduler: Scheduler
  /** Index of the first timestep that runs: 0 unless the run starts from an image. */
  readonly begin: number
  /**
   * Predicts from scaled latents. Their batch is that of the latents, or with guidance twice as large, with the unconditional half first.
   */
  readonly predictor: Predictor
  readonly guidance: Guidance
  readonly eta: number
  readonly recorder: Recorder
  readonly run: Run
  readonly onStep: ((step: StepInfo) => void) | undefined
  /** Every n-th step has a preview. 0: no previews. */
  readonly previewEvery: number
  readonly preview: PreviewCoefficients
  /** Decodes a preview from latents times `scale`. If it is absent or returns null, the preview is computed with the coefficients. */
  readonly decodePreview?: ((latents: DeviceTensor, scale: number) => Promise<PixelImage | null>) | undefined
}

/**
 * Runs the steps from the last checkpoint to the end and returns the latents, which the caller disposes. After a failure it can be called
 * again with the same checkpoints: the steps since the last one are computed again, with the same noise, and reported once.
 * @throws DeviceError `not-finite`, `all-zero`; AbortError; what the predictor throws
 */
export async function denoise(options: DenoiseOptions, checkpoints: Checkpoints): Promise<DeviceTensor> {
  const { scheduler, predictor, guidance, eta, begin, recorder, run } = options
  const { device, name: owner } = predictor
  const { timesteps } = scheduler
  const { dims } = checkpoints
  const { index: first, kept, ...start } = checkpoints.last
  recorder.keep('timesteps', { dims: [timesteps.length], data: Float32Array.from(timesteps) })

  const generator = start.generator.clone()
  const upload = (data: Float32Array) => device.upload(float32Tensor(dims, data), owner)
  let latents = upload(start.latents)
  const runner = new StepRunner(
    deviceArithmetic(device, dims, owner, generator),
    new Map([...kept].map(([name, data]) => [name, upload(data)])),
  )
  const inFlight = new StepsInFlight(device.info.capabilities.stepsInFlight, run.signal)
  let finished = false
  try {
    for (let i = first; i < timesteps.length; i++) {
      throwIfAborted(run.signal)
      const t = timesteps[i] ?? 0
      const step = i - begin
      const { tally } = await withTemporary(async (keep) => {
        const input = (copies: number) => modelInput(options, latents, i, copies, keep)
        const prediction = keep(await predictor.predict(input(guidance === null ? 1 : 2), t))
        const tally = device.tally(prediction, owner)
        // Avoids an unhandled rejection: if the step fails first, nothing awaits the tally.
        tally.catch(() => {})
        await recorder.read('noise_pred', prediction, step)
        const total = timesteps.length - begin
        const correction = (await predictor.refine?.({ index: step, total, timestep: t, sample: input(1) })) ?? null
        keep(correction?.without)
        const output = await guidedOutput(options, { prediction, correction, timestep: t }, dims, keep)
        const next = runner.step(scheduler.plan(i, { eta }), latents, output)
        latents.dispose()
        latents = next
        await recorder.read('latents', latents, step)
        return { tally }
      })
      await reportStep(options, checkpoints, inFlight, { index: i, tally, latents })
      checkpoints.save(i + 1, latents, runner.kept, generator)
      await inFlight.ready()
    }
    await inFlight.all()
    assertSound(await device.tally(latents, owner), 'the latents')
    finished = true
    return latents
  } finally {
    inFlight.close()
    runner.dispose()
    if (!finished) latents.dispose()
  }
}

/** diffusers' `scale_model_input` of the latents, `copies` times along the batch. */
function modelInput(
  { scheduler, predictor: { device, name } }: DenoiseOptions,
  latents: DeviceTensor,
  index: number,
  copies: number,
  keep: Keep,
): DeviceTensor {
  const [batch = 1, ...rest] = latents.dims
  const scale = scheduler.inputScale(index)
  if (scale === 1 && copies === 1) return latents
  return keep(device.combine([{ tensor: latents, scale }], [copies * batch, ...rest], name))
}

/** The prediction as the scheduler takes it: with guidance, and with the predictor's correction. */
async function guidedOutput(
  { guidance, predictor: { device, name } }: DenoiseOptions,
  step: { readonly prediction: DeviceTensor; readonly correction: Correction | null; readonly timestep: number },
  dims: readonly number[],
  keep: Keep,
): Promise<readonly Part<DeviceTensor>[]> {
  const { prediction, correction, timestep } = step
  const size = elementCount(dims)
  if (guidance === null) return [{ value: prediction, scale: 1 }]
  if (hasEnded(guidance, timestep)) return [{ value: prediction, scale: 1, offset: size }]
  const corrected = correction === null ? [] : correctionParts(prediction, size, correction)
  const { rescale, limit = 0 } = guidance
  if (rescale === 0 && limit === 0) return [...guidedParts(prediction, size, guidance.scale), ...corrected]
  const guided = (rescale === 0 ? limitedGuidance : rescaledGuidance)(await prediction.read(), dims[0] ?? 1, guidance)
  return [{ value: keep(device.upload(float32Tensor(dims, guided), name)), scale: 1 }, ...corrected]
}

/** Checks a step once the device has finished it, and reports it to the caller with its preview. */
async function reportStep(
  { scheduler, begin, onStep, previewEvery, preview, decodePreview }: DenoiseOptions,
  checkpoints: Checkpoints,
  inFlight: StepsInFlight,
  { index, tally, latents }: { readonly index: number; readonly tally: Promise<ValueTally>; readonly latents: DeviceTensor },
): Promise<void> {
  const { timesteps } = scheduler
  const [step, total] = [index - begin, timesteps.length - begin]
  const { dims } = latents
  const wantsPreview = previewEvery > 0 && (step + 1) % previewEvery === 0 && !checkpoints.wasReported(index)
  const scale = index + 1 < timesteps.length ? Math.min(1, scheduler.inputScale(index + 1)) : 1
  const decoded = wantsPreview ? await decodePreview?.(latents, scale) : null
  const reading = wantsPreview && (decoded ?? null) === null ? latents.read() : undefined
  inFlight.add(Promise.all([tally, reading]), ([counts, data], isWanted) => {
    assertSound(counts, `the denoiser's output at step ${step}`)
    if (!isWanted || checkpoints.wasReported(index)) return
    checkpoints.reported(index)
    const picture = data === undefined ? decoded : latentPreview({ dims, data }, preview)
    onStep?.({ step, total, timestep: timesteps[index] ?? 0, preview: picture ?? undefined })
  })
}
