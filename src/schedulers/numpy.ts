/** The few numpy functions that diffusers' schedules use, with the same rounding. All except {@link logFloat32} compute in float64. */

/** `np.linspace(start, stop, count, endpoint)`. */
export function linspace(start: number, stop: number, count: number, endpoint = true): number[] {
  const parts = endpoint ? count - 1 : count
  const step = parts > 0 ? (stop - start) / parts : 0
  const values = Array.from({ length: count }, (_, i) => i * step + start)
  if (endpoint && count > 1) values[count - 1] = stop
  return values
}

/** `np.arange(start, stop, step)` of floats. As in numpy, rounding can make the result one element longer than expected. */
export function arange(start: number, stop: number, step: number): number[] {
  const length = Math.max(0, Math.ceil((stop - start) / step))
  // Like numpy, space all values by the difference of the first two, which is rounded.
  const delta = start + step - start
  return Array.from({ length }, (_, i) => start + i * delta)
}

/** `np.round`, which rounds halves to even. */
export function round(value: number): number {
  const below = Math.floor(value)
  const rest = value - below
  if (rest !== 0.5) return Math.round(value)
  return below % 2 === 0 ? below : below + 1
}

/** `np.interp(x, arange(len(values)), values)`: linear between neighbours, constant beyond the ends. */
export function interpolateAt(x: number, values: ArrayLike<number>): number {
  const last = values.length - 1
  if (x <= 0) return values[0] ?? 0
  if (x >= last) return values[last] ?? 0
  const i = Math.floor(x)
  const low = values[i] ?? 0
  const slope = (values[i + 1] ?? 0) - low
  return slope * (x - i) + low
}

const { fround } = Math
/** Coefficients of log(1 + x) ≈ p(x)/q(x), from the highest power down. Source: `NPY_COEFF_P…_LOGf` and `NPY_COEFF_Q…_LOGf` of numpy. */
const [numerator, denominator] = [
  [0.025899791179079226, 0.3808837741388408, 1.4800006335765066, 2.112677543073053, 1, 0],
  [0.005875095403124574, 0.15464763749839067, 0.9864942958519419, 2.453006071784736, 2.6126775430731093, 1],
].map((coefficients) => coefficients.map(fround)) as [number[], number[]]

/**
 * `np.log` of a positive float32 number, as numpy computes it with the vector instructions of x86 (AVX2, AVX-512). One result in five is
 * not the nearest float32 number, but the nearest one's neighbour. This decides whether some schedules begin at the last training timestep
 * or at the second to last.
 */
export function logFloat32(value: number): number {
  const halves = fround(Math.SQRT1_2)
  let exponent = Math.floor(Math.log2(value)) + 1
  let mantissa = value / 2 ** exponent
  // For a number just below a power of two, Math.log2 may return the exponent of this power.
  if (mantissa < 0.5) [exponent, mantissa] = [exponent - 1, mantissa * 2]
  if (mantissa <= halves) [exponent, mantissa] = [exponent - 1, mantissa * 2]
  const x = fround(mantissa - 1)
  const polynomial = (coefficients: readonly number[]) => coefficients.reduce((sum, next) => fround(sum * x + next))
  return fround(exponent * fround(Math.LN2) + fround(polynomial(numerator) / polynomial(denominator)))
}

/** Rounds each value to float32. */
export function float32(values: readonly number[]): number[] {
  return values.map((value) => fround(value))
}
