/** The loop from noise to latents, the same for every family: schedule, guidance, the step, and what is told on the way. */

import { assertHealthy } from '../runtime/health.js'
import type { Scheduler } from '../schedulers/types.js'
import { throwIfAborted } from '../util/abort.js'
import type { TorchGenerator } from '../util/random.js'
import { guide, rescaleGuided } from './guidance.js'
import { latentPreview, type PreviewCoefficients } from './latent-preview.js'
import type { Predictor } from './predictor.js'
import type { Recorder } from './recorder.js'
import type { Run } from './run-hooks.js'
import type { PlainTensor, StepInfo } from './types.js'

export interface DenoiseOptions {
  readonly scheduler: Scheduler
  /** The timestep to begin at, 0 for all. */
  readonly begin: number
  /** [batch, channels, height, width], times the scheduler's initial sigma. */
  readonly latents: PlainTensor
  /** Runs on scaled latents of `batch` or, with guidance, 2 · `batch` (unconditional half first). */
  readonly predictor: Predictor
  /** Null: no guidance. */
  readonly guidance: { readonly scale: number; readonly rescale: number } | null
  readonly eta: number
  /** Goes on with the numbers that the initial latents began. */
  readonly generator: TorchGenerator
  readonly recorder: Recorder
  readonly run: Run
  readonly onStep: ((step: StepInfo) => void) | undefined
  /** Every how many steps a preview is made, 0 for never, and of what. */
  readonly previewEvery: number
  readonly preview: PreviewCoefficients
}

/** Runs all steps. @throws DeviceError `not-finite`, `all-zero`; AbortError; what the predictor throws */
export async function denoise(options: DenoiseOptions): Promise<PlainTensor> {
  const { scheduler, guidance, recorder, run } = options
  const { dims } = options.latents
  const [batch = 1, ...rest] = dims
  recorder.keep('timesteps', { dims: [scheduler.timesteps.length], data: Float32Array.from(scheduler.timesteps) })
  const timesteps = scheduler.timesteps.slice(options.begin)
  let latents = options.latents.data
  for (const [i, timestep] of timesteps.entries()) {
    throwIfAborted(run.signal)
    const scaled = scheduler.scaleModelInput(latents, timestep)
    const sample = { dims, data: Float32Array.from(scaled) }
    const input = guidance === null ? sample : { dims: [2 * batch, ...rest], data: twice(scaled) }
    const prediction = await options.predictor.predict(input, timestep)
    recorder.keep('noise_pred', { dims: input.dims, data: prediction }, i)
    assertHealthy(prediction, `the denoiser's output at step ${i}`)
    let output = prediction
    if (guidance !== null) {
      const text = prediction.slice(prediction.length / 2)
      output = guide(prediction, guidance.scale)
      if (guidance.rescale > 0) output = rescaleGuided(output, text, batch, guidance.rescale)
      if (options.predictor.refine !== undefined)
        output = await options.predictor.refine({ index: i, total: timesteps.length, timestep, sample, guided: output, text })
    }
    latents = scheduler.step(output, timestep, latents, { eta: options.eta, noise: options.generator })
    recorder.keep('latents', { dims, data: latents }, i)
    const wanted = options.previewEvery > 0 && (i + 1) % options.previewEvery === 0
    const preview = wanted ? latentPreview({ dims, data: latents }, options.preview) : null
    options.onStep?.({ step: i, total: timesteps.length, timestep, preview: preview ?? undefined })
  }
  assertHealthy(latents, 'the latents')
  return { dims, data: latents }
}

function twice(values: Float32Array): Float32Array<ArrayBuffer> {
  const result = new Float32Array(2 * values.length)
  result.set(values)
  result.set(values, values.length)
  return result
}
