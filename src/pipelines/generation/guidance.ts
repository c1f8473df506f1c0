/** Classifier-free guidance (arXiv 2207.12598) and its rescaling against overexposure (arXiv 2305.08891, section 3.4). */

import type { DeviceTensor } from '../../runtime/types.js'
import type { Part } from '../../schedulers/step-runner.js'
import type { Correction } from './predictor.js'

/** How a run is guided. Null: not at all. */
export type Guidance = {
  readonly scale: number
  /** {@link rescaledGuidance}; 0 for none. */
  readonly rescale: number
  /** {@link limitedGuidance}; 0 for none. */
  readonly limit?: number | undefined
  /** Guidance ends when this fraction of the noise is removed: later steps take the prediction with the prompt. Default: guidance does not end. */
  readonly end?: number | undefined
} | null

/** Whether guidance has ended at a timestep, computed in float32 as in diffusers. */
export function hasEnded({ end }: NonNullable<Guidance>, timestep: number): boolean {
  // EDM's timesteps are logarithms and can be negative. Without the check for an end above 1, guidance would end at a negative timestep.
  if (end === undefined || end > 1) return false
  return Math.fround(Math.fround(1000 - Math.fround(timestep)) / 1000) > end
}

/**
 * uncond + scale · (text − uncond) as a sum for a scheduler's step. `prediction` holds two halves of `size` values each: first the
 * unconditional one, then the text's.
 */
export function guidedParts(prediction: DeviceTensor, size: number, scale: number): readonly Part<DeviceTensor>[] {
  return [
    { value: prediction, scale: 1 - scale },
    { value: prediction, scale, offset: size },
  ]
}

/** The terms that a correction adds to the guided prediction: scale · (text − without). */
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
 * diffusers' `rescale_noise_cfg` of the guided output: moves each image's standard deviation towards that of the text's prediction, by the
 * fraction `rescale`. A standard deviation is no weighted sum, so the host computes it.
 */
export function rescaledGuidance(
  prediction: Float32Array,
  batch: number,
  { scale, rescale }: NonNullable<Guidance>,
): Float32Array<ArrayBuffer> {
  const { text, guided, size } = guidedHalf(prediction, batch, scale)
  for (let begin = 0; begin < text.length; begin += size) {
    const ratio = deviation(text.subarray(begin, begin + size)) / deviation(guided.subarray(begin, begin + size))
    const factor = rescale * ratio + (1 - rescale)
    for (let i = begin; i < begin + size; i++) guided[i] = (guided[i] ?? 0) * factor
  }
  return guided
}

/** Z-Image's `cfg_normalization`: shortens each image's guided output to `limit` times the length of the text's prediction, if it is longer. */
export function limitedGuidance(
  prediction: Float32Array,
  batch: number,
  { scale, limit = 0 }: NonNullable<Guidance>,
): Float32Array<ArrayBuffer> {
  const { text, guided, size } = guidedHalf(prediction, batch, scale)
  for (let begin = 0; begin < text.length; begin += size) {
    const longest = limit * length(text.subarray(begin, begin + size))
    const image = guided.subarray(begin, begin + size)
    const own = length(image)
    if (own > longest) for (const [i, value] of image.entries()) image[i] = value * (longest / own)
  }
  return guided
}

/** The text's half of a prediction, and the guided output, computed on the host. Each image has `size` values. */
function guidedHalf(prediction: Float32Array, batch: number, scale: number) {
  const half = prediction.length / 2
  const text = prediction.subarray(half)
  const guided = Float32Array.from(text, (value, i) => {
    const uncond = prediction[i] ?? 0
    return uncond + scale * (value - uncond)
  })
  return { text, guided, size: half / batch }
}

function length(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
}

/** `torch.std`: with Bessel's correction. */
function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
