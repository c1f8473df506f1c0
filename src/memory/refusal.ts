/**
 * The answer of a plan that is not possible. It is a value, so that plans can be compared and tried in turn; {@link orThrow} makes an
 * error of it where the caller of the library has to hear of it.
 */

import { DeviceError, type ErrorDetail } from '../errors.js'

/** Why something cannot run on a device. */
export interface Refusal {
  /** The code of the error that it becomes. */
  readonly refused: 'does-not-fit' | 'buffer-too-large'
  readonly message: string
  /** The bytes needed and offered, and what needs them. */
  readonly details: Readonly<Record<string, ErrorDetail>>
}

/** Whether a result is a refusal. */
export function isRefusal(result: unknown): result is Refusal {
  return typeof result === 'object' && result !== null && 'refused' in result
}

/** The error that a refusal becomes. */
export function refusalError({ refused, message, details }: Refusal): DeviceError {
  return new DeviceError(refused, message, details)
}

/** The result, if it is no refusal. @throws DeviceError with the refusal's code, message and details */
export function orThrow<T>(result: T | Refusal): T {
  if (isRefusal(result)) throw refusalError(result)
  return result
}
