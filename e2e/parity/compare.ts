/** How a tensor of ours is held against the same tensor of diffusers'. Pure. */

/** A float32 tensor in Node. */
export interface Tensor {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

/** The outcome for one tensor. */
export interface Comparison {
  readonly name: string
  readonly dims: readonly number[]
  /** Worst absolute difference. */
  readonly absolute: number
  /** `absolute` over the largest magnitude in the reference. */
  readonly relative: number
  /** `absolute` over the reference's own spread (max − min). */
  readonly ofSpread: number
  /** Peak signal-to-noise ratio in dB, for images in 0…1. */
  readonly psnr?: number
  /** What `relative` (or, for images, `psnr`) is held against. */
  readonly limit: number
  readonly passed: boolean
  readonly reason?: string
}

/**
 * Which tolerance a tensor has, of the largest magnitude; for images decibels. From prompt to image each side does several hundred
 * operations one after the other, each rounded. In float32, whose epsilon is 1.2e-7, that leaves no more than 1e-4, and an image that is
 * off by 1e-4 is at 80 dB. In float16 what leaves the denoiser may be off by 1e-3, its epsilon, and an image is held against 50 dB.
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

/** One line for people. */
export function describe(result: Comparison): string {
  const numbers =
    result.reason ??
    `abs ${result.absolute.toExponential(1)}  rel ${result.relative.toExponential(1)}  of spread ${result.ofSpread.toExponential(1)}` +
      (result.psnr === undefined ? '' : `  PSNR ${result.psnr.toFixed(1)} dB`)
  return `  ${result.passed ? 'ok  ' : 'FAIL'} ${result.name.padEnd(30)} [${result.dims.join(', ')}]  ${numbers}`
}
