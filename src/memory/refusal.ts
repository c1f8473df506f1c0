/**
 * The result of planning when something does not fit on a device. It is a value and not an exception, so that the caller can compare plans
 * or try another one. {@link orThrow} throws it as an error.
 */

import { DeviceError, type DetailsOf } from '../errors.js'

interface RefusalWith<Code extends 'does-not-fit' | 'buffer-too-large'> {
  /** The code of the {@link refusalError}. */
  readonly refused: Code
  readonly message: string
  /** The bytes that are needed and offered, and the component or tensor that needs them. */
  readonly details: DetailsOf<Code>
}

/** Why something cannot run on a device. */
export type Refusal = RefusalWith<'does-not-fit'> | RefusalWith<'buffer-too-large'>

/** Whether a result is a refusal. */
export function isRefusal(result: unknown): result is Refusal {
  return typeof result === 'object' && result !== null && 'refused' in result
}

/** The error that a refusal becomes. */
export function refusalError(refusal: Refusal): DeviceError {
  if (refusal.refused === 'does-not-fit') return new DeviceError(refusal.refused, refusal.message, refusal.details)
  return new DeviceError(refusal.refused, refusal.message, refusal.details)
}

/** The result, if it is no refusal. @throws DeviceError with the refusal's code, message and details */
export function orThrow<T>(result: T | Refusal): T {
  if (isRefusal(result)) throw refusalError(result)
  return result
}
