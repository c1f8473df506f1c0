/** Detects broken results: values that are not finite, or nothing but zeros. */

import { DeviceError } from '../errors.js'

/** How many values a tensor has, how many are not finite, and how many are 0. */
export interface ValueTally {
  readonly count: number
  readonly bad: number
  readonly zeros: number
}

/** Counts values in host memory. */
export function tallyValues(values: Float32Array): ValueTally {
  let bad = 0
  let zeros = 0
  for (const value of values) {
    if (value === 0) zeros++
    else if (!Number.isFinite(value)) bad++
  }
  return { count: values.length, bad, zeros }
}

/**
 * @throws DeviceError `not-finite` if a value is NaN or infinite, as after an overflow in float16; `all-zero` if every value is 0, as when
 * a GPU did not run the commands
 */
export function assertSound({ count, bad, zeros }: ValueTally, what: string): void {
  if (bad > 0) {
    const message = `${bad} of the ${count} values of ${what} are not finite: compute in float32, or use weights made for float16.`
    throw new DeviceError('not-finite', message, { what, bad, count })
  }
  if (count > 0 && zeros === count)
    throw new DeviceError('all-zero', `All ${count} values of ${what} are zero: the device did not compute them.`, {
      what,
      count,
    })
}

/** {@link assertSound} of values in host memory. @throws DeviceError `not-finite`, `all-zero` */
export function assertHealthy(values: Float32Array, what: string): void {
  assertSound(tallyValues(values), what)
}
