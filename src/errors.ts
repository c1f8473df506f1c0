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
import type { DetailsAndCause, DetailsOf, ErrorDetails } from './error-details.js'

export type { DetailsAndCause, DetailsByCode, DetailsOf, ErrorDetail, ErrorDetails } from './error-details.js'
export type {
  CheckpointErrorCode,
  DeviceErrorCode,
  ErrorCode,
  HubErrorCode,
  InputErrorCode,
  StorageErrorCode,
  UnsupportedErrorCode,
} from './error-codes.js'

/** An error as plain data, on its way from the worker to the page. */
export interface SerializedError {
  readonly kind: ErrorKind | 'AbortError' | 'Error'
  readonly code: ErrorCode | 'aborted' | 'unknown'
  readonly message: string
  readonly details: ErrorDetails
  readonly stack?: string
  readonly cause?: SerializedError
}

/** Marks an error of Aquatint, whichever copy of the library made it. A global symbol is the same in every copy. */
const brand = Symbol.for('aquatint.error')

/** The base class of every error that Aquatint throws on purpose. */
export class AquatintError<Code extends ErrorCode = ErrorCode> extends Error {
  // A literal, because minifiers rename classes and the worker sends this name to the page.
  /** The name of the class. */
  override readonly name: string = 'AquatintError'
  /** The exact case, such as `shape-mismatch`. docs/errors.md lists every code. */
  readonly code: Code
  /**
   * The values involved, for programs; the message states the same in words. {@link DetailsByCode} lists the values' names for some codes.
   */
  readonly details: DetailsOf<Code>

  static {
    Object.defineProperty(this.prototype, brand, { value: true })
  }

  /**
   * Behaves like the default `instanceof`. It is declared only for its return type: without it, TypeScript would narrow a value to this generic
   * class with `any` as its code.
   */
  static override [Symbol.hasInstance]<Kind extends abstract new (...given: never) => unknown>(
    this: Kind,
    value: unknown,
  ): value is InstanceType<Kind> {
    return Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** Takes the code, the message for people, the values, and the error that caused this one. */
  constructor(code: Code, message: string, ...more: DetailsAndCause<Code>) {
    const [details, cause] = more
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = (details ?? {}) as DetailsOf<Code>
  }
}

/** An argument is wrong: change the call. */
export class InputError<Code extends InputErrorCode = InputErrorCode> extends AquatintError<Code> {
  /** Always `InputError`. */
  override readonly name = 'InputError'
}

/** A repository or file could not be downloaded: check its name, the network or the token, or try again later. */
export class HubError<Code extends HubErrorCode = HubErrorCode> extends AquatintError<Code> {
  /** Always `HubError`. */
  override readonly name = 'HubError'
}

/** The storage of the browser failed: free some space, or continue without a cache. */
export class StorageError<Code extends StorageErrorCode = StorageErrorCode> extends AquatintError<Code> {
  /** Always `StorageError`. */
  override readonly name = 'StorageError'
}

/** The files of a repository are damaged or inconsistent: only their author can repair them. */
export class CheckpointError<Code extends CheckpointErrorCode = CheckpointErrorCode> extends AquatintError<Code> {
  /** Always `CheckpointError`. */
  override readonly name = 'CheckpointError'
}

/** The checkpoint is valid but needs something that Aquatint does not support: choose another model or component. */
export class UnsupportedError<Code extends UnsupportedErrorCode = UnsupportedErrorCode> extends AquatintError<Code> {
  /** Always `UnsupportedError`. */
  override readonly name = 'UnsupportedError'
}

/** The GPU, its memory or the runtime failed: try a smaller size, another device or more offloading. */
export class DeviceError<Code extends DeviceErrorCode = DeviceErrorCode> extends AquatintError<Code> {
  /** Always `DeviceError`. */
  override readonly name = 'DeviceError'
}

const kinds = { AquatintError, InputError, HubError, StorageError, CheckpointError, UnsupportedError, DeviceError }

/** The name of an error class of Aquatint. */
export type ErrorKind = keyof typeof kinds

/** An error whose code is one of `Code`: a union type, so that comparing `code` narrows the type of `details`. */
export type AquatintErrorOf<Code extends ErrorCode> = Code extends ErrorCode ? AquatintError<Code> : never

/**
 * Whether `error` is an {@link AquatintError} and, if `codes` are given, has one of them. TypeScript then narrows `details` to these codes.
 * Unlike `instanceof`, this also recognizes the errors of a second copy of the library on the same page, such as the one inside
 * `element.js`; compare `error.name` to tell the classes of such errors apart.
 */
export function isAquatintError<Code extends ErrorCode = ErrorCode>(
  error: unknown,
  ...codes: readonly Code[]
): error is AquatintErrorOf<Code> {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return codes.length === 0 || (codes as readonly ErrorCode[]).includes((error as unknown as AquatintError).code)
}

/** An error class whose constructor accepts any string as the code, because errors arrive from the other thread as plain data. */
type AnyErrorClass = new (code: string, message: string, details: ErrorDetails, cause: unknown) => AquatintError

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
  else {
    const Kind = kinds[data.kind] as AnyErrorClass
    error = new Kind(data.code, data.message, data.details, cause)
  }
  if (data.stack !== undefined && data.kind !== 'AbortError') error.stack = data.stack
  return error
}
