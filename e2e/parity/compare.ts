/** Compares a tensor of Aquatint with the same tensor of diffusers. Pure. */

/** A float32 tensor in Node. */
export interface Tensor {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

/** The result for one tensor. */
export interface Comparison {
  readonly name: string
  readonly dims: readonly number[]
  /** The largest absolute difference. */
  readonly absolute: number
  /** `absolute` divided by the largest magnitude in the reference. */
  readonly relative: number
  /** `absolute` divided by the reference's range (max − min). */
  readonly ofSpread: number
  /** Peak signal-to-noise ratio in dB, for images in 0…1. */
  readonly psnr?: number
  /** The limit of `relative`, or of `psnr` for images. */
  readonly limit: number
  readonly passed: boolean
  readonly reason?: string
}

/**
 * The tolerance of a tensor, relative to its largest magnitude; for images in dB. From prompt to image, both sides perform several hundred
 * operations in sequence, each with a rounding error. In float32, whose epsilon is 1.2e-7, the error stays below 1e-4; an image with an error of
 * 1e-4 has 80 dB. In float16, the denoiser's output may have an error of 1e-3, float16's epsilon, and an image must have 50 dB.
 */
export function limitOf(name: string, dtype: 'float32' | 'float16'): number {
  if (name === 'image') return dtype === 'float32' ? 80 : 50
  return dtype === 'float32' || /embeds$|^timesteps$|^initial_latents$/.test(name) ? 1e-4 : 1e-3
}

/** Compares `actual` with `reference`; a missing tensor, other dims or a value that is not finite fails. */
export function compareTensor(
  name: string,
  reference: Tensor,
  actual: Tensor | undefined,
  dtype: 'float32' | 'float16' = 'float32',
): Comparison {
  const limit = limitOf(name, dtype)
  const failed = (reason: string): Comparison => ({
    name,
    dims: reference.dims,
    absolute: Infinity,
    relative: Infinity,
    ofSpread: Infinity,
    limit,
    passed: false,
    reason,
  })
  if (actual === undefined) return failed('not compared: the run gave no such tensor')
  if (actual.dims.join('×') !== reference.dims.join('×'))
    return failed(`dims ${actual.dims.join('×')} instead of ${reference.dims.join('×')}`)
  let absolute = 0
  let magnitude = 0
  let squares = 0
  let low = Infinity
  let high = -Infinity
  for (let i = 0; i < reference.data.length; i++) {
    const expected = reference.data[i] ?? NaN
    const difference = Math.abs((actual.data[i] ?? NaN) - expected)
    if (!Number.isFinite(difference)) return failed(`value ${i} is ${actual.data[i]} instead of ${expected}`)
    absolute = Math.max(absolute, difference)
    magnitude = Math.max(magnitude, Math.abs(expected))
    squares += difference * difference
    low = Math.min(low, expected)
    high = Math.max(high, expected)
  }
  const relative = magnitude === 0 ? absolute : absolute / magnitude
  const ofSpread = high === low ? relative : absolute / (high - low)
  const common = { name, dims: reference.dims, absolute, relative, ofSpread, limit }
  if (name !== 'image') return { ...common, passed: relative <= limit }
  const psnr = squares === 0 ? Infinity : -10 * Math.log10(squares / reference.data.length)
  return { ...common, psnr, passed: psnr >= limit }
}

/** One line of text for the report. */
export function describe(result: Comparison): string {
  const numbers =
    result.reason ??
    `abs ${result.absolute.toExponential(1)}  rel ${result.relative.toExponential(1)}  of spread ${result.ofSpread.toExponential(1)}` +
      (result.psnr === undefined ? '' : `  PSNR ${result.psnr.toFixed(1)} dB`)
  return `  ${result.passed ? 'ok  ' : 'FAIL'} ${result.name.padEnd(30)} [${result.dims.join(', ')}]  ${numbers}`
}
