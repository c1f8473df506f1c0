/**
 * The errors a caller of Aquatint can meet. Each subclass stands for one thing a caller can act on; `code` names the exact
 * case and `details` carries the values (what was given, what is allowed). They cross the worker boundary as plain data.
 */

/** A value that can cross a worker boundary inside an error. */
export type ErrorDetail = string | number | boolean | null | readonly ErrorDetail[] | { readonly [key: string]: ErrorDetail }

/** What an error becomes when it crosses from the worker to the page. */
export interface SerializedError {
  readonly kind: ErrorKind | 'AbortError' | 'Error'
  readonly code: string
  readonly message: string
  readonly details: Readonly<Record<string, ErrorDetail>>
  readonly stack?: string
  readonly cause?: SerializedError
}

/** The base of every error Aquatint throws on purpose. */
export class AquatintError extends Error {
  // Written out, since a minifier renames classes and the name must survive the crossing.
  /** The class's name. */
  override readonly name: string = 'AquatintError'
  /** A stable kebab-case word for this exact case, such as `shape-mismatch`. */
  readonly code: string
  /** The values involved, for a program to read; the message says the same in words. */
  readonly details: Readonly<Record<string, ErrorDetail>>

  /** `code`, the message for people, the values, and what it came from. */
  constructor(code: string, message: string, details: Readonly<Record<string, ErrorDetail>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }
}

/** An argument of the caller's is wrong: change the call. */
export class InputError extends AquatintError {
  /** `InputError`. */
  override readonly name = 'InputError'
}

/** A repository or file could not be fetched: check the name, the network, the token, or try later. */
export class HubError extends AquatintError {
  /** `HubError`. */
  override readonly name = 'HubError'
}

/** The browser's storage refused: free space, or go on without a cache. */
export class StorageError extends AquatintError {
  /** `StorageError`. */
  override readonly name = 'StorageError'
}

/** What a repository's files say is broken or inconsistent: the checkpoint must be mended. */
export class CheckpointError extends AquatintError {
  /** `CheckpointError`. */
  override readonly name = 'CheckpointError'
}

/** The checkpoint is sound, but uses something that Aquatint does not run: choose another model or component. */
export class UnsupportedError extends AquatintError {
  /** `UnsupportedError`. */
  override readonly name = 'UnsupportedError'
}

/** The GPU, its memory or the runtime failed: try a smaller size, another device or a tighter residency. */
export class DeviceError extends AquatintError {
  /** `DeviceError`. */
  override readonly name = 'DeviceError'
}

const kinds = { AquatintError, InputError, HubError, StorageError, CheckpointError, UnsupportedError, DeviceError }

/** The name of an error class of Aquatint's. */
export type ErrorKind = keyof typeof kinds

/** Whether `error` was thrown by Aquatint on purpose, here or in its worker. */
export function isAquatintError(error: unknown): error is AquatintError {
  return error instanceof AquatintError
}

/** Turns any thrown value into plain data that `structuredClone` takes. */
export function serializeError(error: unknown): SerializedError {
  if (!(error instanceof Error)) return { kind: 'Error', code: 'unknown', message: String(error), details: {} }
  const kind = error instanceof AquatintError ? (error.name as ErrorKind) : error.name === 'AbortError' ? 'AbortError' : 'Error'
  return {
    kind,
    code: error instanceof AquatintError ? error.code : kind === 'AbortError' ? 'aborted' : 'unknown',
    message: error.message,
    details: error instanceof AquatintError ? error.details : {},
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
  else error = new kinds[data.kind](data.code, data.message, data.details, cause)
  if (data.stack !== undefined && data.kind !== 'AbortError') error.stack = data.stack
  return error
}
