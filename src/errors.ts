/**
 * The errors that Aquatint throws on purpose. Each subclass is one kind of problem that a caller can act on; `code` names the exact case
 * (`error-codes.ts` lists all) and `details` holds the values, such as what was given and what is allowed. Errors cross the worker
 * boundary as plain data.
 */

import type {
  CheckpointErrorCode,
  DeviceErrorCode,
  ErrorCode,
  HubErrorCode,
  InputErrorCode,
  StorageErrorCode,
  UnsupportedErrorCode,
} from './error-codes.js'

export type {
  CheckpointErrorCode,
  DeviceErrorCode,
  ErrorCode,
  HubErrorCode,
  InputErrorCode,
  StorageErrorCode,
  UnsupportedErrorCode,
} from './error-codes.js'

/** A value that can cross a worker boundary inside an error. */
export type ErrorDetail = string | number | boolean | null | readonly ErrorDetail[] | { readonly [key: string]: ErrorDetail }

/** An error as plain data, on its way from the worker to the page. */
export interface SerializedError {
  readonly kind: ErrorKind | 'AbortError' | 'Error'
  readonly code: ErrorCode | 'aborted' | 'unknown'
  readonly message: string
  readonly details: Readonly<Record<string, ErrorDetail>>
  readonly stack?: string
  readonly cause?: SerializedError
}

/** Marks an error of Aquatint, whichever copy of the library made it. A global symbol is the same in every copy. */
const brand = Symbol.for('aquatint.error')

/** The base class of every error that Aquatint throws on purpose. */
export class AquatintError<Code extends ErrorCode = ErrorCode> extends Error {
  // Written out, because minifiers rename classes and the worker sends this name to the page.
  /** The name of the class. */
  override readonly name: string = 'AquatintError'
  /** The exact case, such as `shape-mismatch`. docs/errors.md lists every code. */
  readonly code: Code
  /** The values involved, for programs; the message states the same in words. */
  readonly details: Readonly<Record<string, ErrorDetail>>

  static {
    Object.defineProperty(this.prototype, brand, { value: true })
  }

  /** Takes the code, the message for people, the values, and the error that caused this one. */
  constructor(code: Code, message: string, details: Readonly<Record<string, ErrorDetail>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }
}

/** An argument is wrong: change the call. */
export class InputError extends AquatintError<InputErrorCode> {
  /** Always `InputError`. */
  override readonly name = 'InputError'
}

/** A repository or file could not be downloaded: check its name, the network or the token, or try again later. */
export class HubError extends AquatintError<HubErrorCode> {
  /** Always `HubError`. */
  override readonly name = 'HubError'
}

/** The storage of the browser failed: free some space, or continue without a cache. */
export class StorageError extends AquatintError<StorageErrorCode> {
  /** Always `StorageError`. */
  override readonly name = 'StorageError'
}

/** The files of a repository are damaged or inconsistent: only their author can repair them. */
export class CheckpointError extends AquatintError<CheckpointErrorCode> {
  /** Always `CheckpointError`. */
  override readonly name = 'CheckpointError'
}

/** The checkpoint is valid but needs something that Aquatint does not support: choose another model or component. */
export class UnsupportedError extends AquatintError<UnsupportedErrorCode> {
  /** Always `UnsupportedError`. */
  override readonly name = 'UnsupportedError'
}

/** The GPU, its memory or the runtime failed: try a smaller size, another device or more offloading. */
export class DeviceError extends AquatintError<DeviceErrorCode> {
  /** Always `DeviceError`. */
  override readonly name = 'DeviceError'
}

const kinds = { AquatintError, InputError, HubError, StorageError, CheckpointError, UnsupportedError, DeviceError }

/** The name of an error class of Aquatint. */
export type ErrorKind = keyof typeof kinds

/**
 * Whether Aquatint threw `error` on purpose, and with one of `codes` where any are given. Unlike `instanceof`, this also recognizes the
 * errors of a second copy of the library on the same page, such as the one inside `element.js`; compare `error.name` to tell the
 * classes of such errors apart.
 */
export function isAquatintError<Code extends ErrorCode = ErrorCode>(
  error: unknown,
  ...codes: readonly Code[]
): error is AquatintError<Code> {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return codes.length === 0 || (codes as readonly ErrorCode[]).includes((error as unknown as AquatintError).code)
}

/** Turns any thrown value into plain data that `structuredClone` takes. */
export function serializeError(error: unknown): SerializedError {
  if (!(error instanceof Error)) return { kind: 'Error', code: 'unknown', message: String(error), details: {} }
  const own = isAquatintError(error) ? error : undefined
  const kind = own === undefined ? (error.name === 'AbortError' ? 'AbortError' : 'Error') : (own.name as ErrorKind)
  return {
    kind,
    code: own?.code ?? (kind === 'AbortError' ? 'aborted' : 'unknown'),
    message: error.message,
    details: own?.details ?? {},
    ...(error.stack === undefined ? {} : { stack: error.stack }),
    ...(error.cause === undefined ? {} : { cause: serializeError(error.cause) }),
  }
}

/** The inverse of {@link serializeError}: an error of the same class, code and details. */
export function deserializeError(data: SerializedError): Error {
  const cause = data.cause === undefined ? undefined : deserializeError(data.cause)
  let error: Error
  if (data.kind === 'AbortError') error = new DOMException(data.message, 'AbortError')
  else if (data.kind === 'Error') error = new Error(data.message, cause === undefined ? undefined : { cause })
  else error = new kinds[data.kind](data.code as never, data.message, data.details, cause)
  if (data.stack !== undefined && data.kind !== 'AbortError') error.stack = data.stack
  return error
}
