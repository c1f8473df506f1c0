/** Telling a broken result from a picture: values that are not finite, or nothing but zeros. */

import { DeviceError } from '../errors.js'

/**
 * @throws DeviceError `not-finite` when a value is NaN or infinite (float16 that overflowed does this), `all-zero` when every value is
 * 0 (a GPU that lost its memory does this)
 */
export function assertHealthy(values: Float32Array, what: string): void {
  let bad = 0
  let zeros = 0
  for (const value of values) {
    if (value === 0) zeros++
    else if (!Number.isFinite(value)) bad++
  }
  if (bad > 0) {
    const message = `${bad} of the ${values.length} values of ${what} are not finite: compute in float32, or use weights made for float16.`
    throw new DeviceError('not-finite', message, { what, bad, count: values.length })
  }
  if (values.length > 0 && zeros === values.length)
    throw new DeviceError('all-zero', `All ${values.length} values of ${what} are zero: the device did not compute them.`, {
      what,
      count: values.length,
    })
}
