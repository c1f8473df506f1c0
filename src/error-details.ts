/**
 * The `details` of the error codes that programs act on. The constructor of such an error requires these details and accepts further ones.
 * The details of all other codes are values for a log.
 */

import type { ErrorCode } from './error-codes.js'

/** A value that can cross a worker boundary inside an error. */
export type ErrorDetail = string | number | boolean | null | readonly ErrorDetail[] | { readonly [key: string]: ErrorDetail }

/** The values of any error, by name. */
export type ErrorDetails = Readonly<Record<string, ErrorDetail>>

/** The values that every error with one of these codes has; it may have others too. Sizes of memory are in bytes. */
export interface DetailsByCode {
  /** A tensor needs a buffer of `bytes`; a buffer of this GPU holds `allowed`. */
  readonly 'buffer-too-large': {
    readonly tensor: string
    readonly bytes: number
    readonly allowed: number
    readonly component?: string
  }
  /**
   * A component needs at least `needed` bytes, and `offered` bytes are available. Each is a number, or, where several devices were tried,
   * an object with a number for each device's name. `residence`: the offload mode to which these numbers apply.
   */
  readonly 'does-not-fit': {
    readonly component: string
    readonly needed: number | Readonly<Record<string, number>>
    readonly offered: number | Readonly<Record<string, number>>
    readonly residence?: string
  }
  /** `status`: 401 if no valid token was sent, 403 if the account of the token has no access. */
  readonly gated: { readonly repository: string; readonly status: number; readonly path?: string; readonly revision?: string }
  /** `allowed`: the sizes that can be chosen, in words. The detail named after the option, such as `width`, holds the given value. */
  readonly size: { readonly allowed: string }
  /** `supported`: the classes that can be chosen. `component`: which part of the pipeline has the class. `library`: its Python module. */
  readonly 'unsupported-class': {
    readonly className: string
    readonly component?: string
    readonly supported?: readonly string[]
    readonly library?: string
  }
}

/** The details of an error with `Code`; a union if `Code` is a union. */
export type DetailsOf<Code extends ErrorCode> = Code extends keyof DetailsByCode
  ? DetailsByCode[Code] & ErrorDetails
  : ErrorDetails

/**
 * The arguments of a constructor after the message. If `Code` is a union, the details must suit each of its codes. They can be left out if
 * {@link DetailsByCode} has none of these codes.
 */
export type DetailsAndCause<Code extends ErrorCode> = [Extract<Code, keyof DetailsByCode>] extends [never]
  ? [details?: ErrorDetails, cause?: unknown]
  : (Code extends ErrorCode ? (details: DetailsOf<Code>) => void : never) extends (details: infer Details) => void
    ? [details: Details, cause?: unknown]
    : never
