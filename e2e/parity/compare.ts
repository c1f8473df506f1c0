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
  /** The root of the mean square of the differences, divided by that of the reference. */
  readonly rms: number
  /** Peak signal-to-noise ratio in dB, for images in 0…1. */
  readonly psnr?: number
  readonly limit: Limit
  readonly passed: boolean
  readonly reason?: string
}

/** What is measured, and its largest allowed value; for `psnr` the smallest, in dB. */
export interface Limit {
  readonly measure: 'relative' | 'rms' | 'psnr'
  readonly value: number
}

/**
 * The tolerance of a tensor in float32. From prompt to image, both sides perform several hundred operations in sequence, each with a rounding error. With
 * float32's epsilon of 1.2e-7, the error stays below 1e-4 of the largest magnitude; an image with an error of 1e-4 has 80 dB.
 */
export function limitOf(name: string): Limit {
  return name === 'image' ? { measure: 'psnr', value: 80 } : { measure: 'relative', value: 1e-4 }
}

/** The errors of diffusers in float16 against the float32 reference of a case: an entry of fixtures/float16.json. */
export interface OwnErrors {
  readonly case: number
  readonly rms: Readonly<Partial<Record<string, number>>>
  readonly psnr: number
}

/**
 * The tolerance in float16: 1.5 times PyTorch's error; for an image, a PSNR 2 dB below PyTorch's. Undefined for a tensor whose error in
 * PyTorch was not measured.
 */
export function float16LimitOf(name: string, own: OwnErrors): Limit | undefined {
  if (name === 'image') return { measure: 'psnr', value: own.psnr - 2 }
  const rms = own.rms[name]
  return rms === undefined ? undefined : { measure: 'rms', value: 1.5 * rms }
}

/** Compares `actual` with `reference`; a missing tensor, other dims or a value that is not finite fails. */
export function compareTensor(name: string, reference: Tensor, actual: Tensor | undefined, limit = limitOf(name)): Comparison {
  const failed = (reason: string): Comparison => ({
    name,
    dims: reference.dims,
    absolute: Infinity,
    relative: Infinity,
    ofSpread: Infinity,
    rms: Infinity,
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
  let own = 0
  let low = Infinity
  let high = -Infinity
  for (let i = 0; i < reference.data.length; i++) {
    const expected = reference.data[i] ?? NaN
    const difference = Math.abs((actual.data[i] ?? NaN) - expected)
    if (!Number.isFinite(difference)) return failed(`value ${i} is ${actual.data[i]} instead of ${expected}`)
    absolute = Math.max(absolute, difference)
    magnitude = Math.max(magnitude, Math.abs(expected))
    squares += difference * difference
    own += expected * expected
    low = Math.min(low, expected)
    high = Math.max(high, expected)
  }
  const relative = magnitude === 0 ? absolute : absolute / magnitude
  const ofSpread = high === low ? relative : absolute / (high - low)
  const rms = own === 0 ? absolute : Math.sqrt(squares / own)
  const psnr = squares === 0 ? Infinity : -10 * Math.log10(squares / reference.data.length)
  const measured = { relative, rms, psnr }[limit.measure]
  const passed = limit.measure === 'psnr' ? measured >= limit.value : measured <= limit.value
  const common = { name, dims: reference.dims, absolute, relative, ofSpread, rms, limit, passed }
  return name === 'image' ? { ...common, psnr } : common
}

/** One line of text for the report. */
export function describe(result: Comparison): string {
  const numbers =
    result.reason ??
    `abs ${result.absolute.toExponential(1)}  rel ${result.relative.toExponential(1)}  of spread ${result.ofSpread.toExponential(1)}  rms ${result.rms.toExponential(1)}` +
      (result.psnr === undefined ? '' : `  PSNR ${result.psnr.toFixed(1)} dB`)
  return `  ${result.passed ? 'ok  ' : 'FAIL'} ${result.name.padEnd(30)} [${result.dims.join(', ')}]  ${numbers}`
}
