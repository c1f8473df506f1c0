/** Classifier-free guidance (arXiv 2207.12598) and its rescaling against overexposure (arXiv 2305.08891, section 3.4). */

import type { DeviceTensor } from '../../runtime/types.js'
import type { Part } from '../../schedulers/step-runner.js'
import type { Correction } from './predictor.js'

/** Null: no guidance. */
export type Guidance = { readonly scale: number; readonly rescale: number } | null

/** uncond + scale · (text − uncond) as a sum for a scheduler's step. `prediction` holds the unconditional half first, of `size` values. */
export function guidedParts(prediction: DeviceTensor, size: number, scale: number): readonly Part<DeviceTensor>[] {
  return [
    { value: prediction, scale: 1 - scale },
    { value: prediction, scale, offset: size },
  ]
}

/** What a correction adds to it: scale · (text − without). */
export function correctionParts(
  prediction: DeviceTensor,
  size: number,
  { without, scale }: Correction,
): readonly Part<DeviceTensor>[] {
  return [
    { value: prediction, scale, offset: size },
    { value: without, scale: -scale },
  ]
}

/**
 * diffusers' `rescale_noise_cfg` of the guided output: moves each image's standard deviation towards that of the text's prediction, by
 * `rescale` of 1. Deviations are no sums, so this is done on the host.
 */
export function rescaledGuidance(
  prediction: Float32Array,
  batch: number,
  { scale, rescale }: NonNullable<Guidance>,
): Float32Array<ArrayBuffer> {
  const half = prediction.length / 2
  const text = prediction.subarray(half)
  const guided = Float32Array.from(text, (value, i) => {
    const uncond = prediction[i] ?? 0
    return uncond + scale * (value - uncond)
  })
  const size = half / batch
  for (let begin = 0; begin < half; begin += size) {
    const ratio = deviation(text.subarray(begin, begin + size)) / deviation(guided.subarray(begin, begin + size))
    const factor = rescale * ratio + (1 - rescale)
    for (let i = begin; i < begin + size; i++) guided[i] = (guided[i] ?? 0) * factor
  }
  return guided
}

/** `torch.std`: with Bessel's correction. */
function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
