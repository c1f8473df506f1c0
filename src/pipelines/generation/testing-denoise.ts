/**
 * For this folder's browser tests: a predictor that computes a sum of two terms, and a run of the denoising loop with it. Not part of the
 * library.
 */

import type { Config } from '../../checkpoint/types.js'
import { numbers } from '../../runtime/testing.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { createScheduler } from '../../schedulers/registry.js'
import { TorchGenerator } from '../../util/random.js'
import { Checkpoints } from './checkpoints.js'
import { denoise as runLoop, type DenoiseOptions } from './denoise.js'
import { stableDiffusionXL } from '../families/stable-diffusion-xl.js'
import type { Predictor } from './predictor.js'
import { Run, Recorder } from '../run.js'
import { elementCount } from '../../util/element-count.js'
import type { PlainTensor } from '../types.js'
import type { Device } from '../../runtime/device.js'

/** The schedule of Stable Diffusion. */
export const base = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', steps_offset: 1 }
/** The shape of the latents. */
export const latentDims = [1, 4, 8, 8]
/** Values of the latents, and of each half of the condition. */
export const count = 256
export const guidanceScale = 5
export const condition = numbers(2 * count, 7)
/** The factor of the latents in a prediction. */
export const factor = (timestep: number) => 0.4 + timestep / 4000

/** A predictor that computes {@link factor} times the latents plus 0.3 times a condition, which differs between the halves of guidance. */
export function toyPredictor(
  device: Device,
  change: (prediction: DeviceTensor, call: number) => DeviceTensor = (same) => same,
): Predictor {
  const tensor = device.upload({ type: 'float32', dims: [2, ...latentDims.slice(1)], data: condition }, 'toy')
  let call = 0
  return {
    name: 'toy',
    device,
    predict: async (sample, timestep) =>
      change(
        device.combine(
          [
            { tensor: sample, scale: factor(timestep) },
            { tensor, scale: 0.3 },
          ],
          sample.dims,
          'toy',
        ),
        call++,
      ),
  }
}

/** A run of the loop from its initial latents. */
export interface LoopOptions extends DenoiseOptions {
  readonly latents: PlainTensor
  readonly generator: TorchGenerator
  /** The clock of its checkpoints. */
  readonly now: () => number
}

/** Options of a run with guidance whose clock does not move, so that it makes no checkpoints. */
export function loopOptions(
  predictor: Predictor,
  className: string,
  config: Config,
  steps: number,
  dims: readonly number[] = latentDims,
): LoopOptions {
  const { scheduler } = createScheduler(className, config)
  scheduler.setTimesteps(steps)
  const generator = new TorchGenerator(3)
  const data = generator.randn(elementCount(dims)).map((value) => value * scheduler.initNoiseSigma)
  return {
    scheduler,
    begin: 0,
    latents: { dims, data },
    predictor,
    guidance: { scale: guidanceScale, rescale: 0 },
    eta: 0.5,
    generator,
    recorder: new Recorder(),
    run: new Run({}),
    onStep: undefined,
    previewEvery: 0,
    preview: stableDiffusionXL.preview,
    now: () => 0,
  }
}

/** Runs the whole loop and returns the final latents. `retrying` calls its argument again after a failure. */
export async function denoise(
  { latents, generator, now, ...options }: LoopOptions,
  retrying: <T>(work: () => Promise<T>) => Promise<T> = (work) => work(),
): Promise<PlainTensor> {
  const checkpoints = new Checkpoints(latents, options.begin, generator, now)
  return retrying(async () => {
    const last = await runLoop(options, checkpoints)
    try {
      return { dims: last.dims, data: await last.read() }
    } finally {
      last.dispose()
    }
  })
}
