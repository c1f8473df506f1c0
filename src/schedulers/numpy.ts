/** The few numpy functions that diffusers' schedules use, with the same rounding. They compute in float64. */

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
  // numpy fills with the difference of the first two values.
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

/** Rounds each value to float32. */
export function float32(values: readonly number[]): number[] {
  return values.map((value) => Math.fround(value))
}
