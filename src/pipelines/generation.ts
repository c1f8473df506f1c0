/** What one generation has whatever the family: its seed, noise, clock and result. */

import type { TorchGenerator } from '../util/random.js'
import { toPixels } from './image-processor.js'
import type { Recorder } from './recorder.js'
import type { Run } from './run-hooks.js'
import type { GenerateResult, PlainTensor } from './types.js'

/** The seed asked for, or one drawn. */
export function chooseSeed(seed: number | undefined): number {
  return seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
}

/** diffusers' `prepare_latents`: noise as torch's CPU generator draws it, times the scheduler's initial sigma. */
export function prepareLatents(dims: readonly number[], generator: TorchGenerator, initNoiseSigma: number): PlainTensor {
  const noise = generator.randn(dims.reduce((product, dim) => product * dim, 1))
  return { dims, data: initNoiseSigma === 1 ? noise : noise.map((value) => value * initNoiseSigma) }
}

/** Seconds spent in each phase. */
export class Stopwatch {
  #last = performance.now()

  /** Seconds since the last lap. */
  lap(): number {
    const now = performance.now()
    const seconds = (now - this.#last) / 1000
    this.#last = now
    return seconds
  }
}

/** The result of a generation from its images, [batch, height, width, channels] in 0…1. */
export function finish(
  images: PlainTensor,
  seed: number,
  timings: GenerateResult['timings'],
  recorder: Recorder,
  run: Run,
): GenerateResult {
  recorder.keep('image', images)
  run.status('complete')
  const { captured } = recorder
  return { images: toPixels(images), seed, timings, warnings: [...run.warnings], ...(captured === undefined ? {} : { captured }) }
}
