/** The messages between a page and the worker that hashes its downloads. */

import type { ExpectedHash } from '../remote-file.js'

/** What the worker is asked. `call` numbers the calls, `file` the hashers. */
export type HashCall = { readonly call: number; readonly file: number } & (
  | {
      readonly kind: 'create'
      readonly algorithm: ExpectedHash['algorithm']
      readonly size: number
      readonly state: Uint8Array | undefined
    }
  | { readonly kind: 'update'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'digest' }
  | { readonly kind: 'close' }
)

/** What it answers: the state after an update, the digest, or what went wrong. */
export interface HashAnswer {
  readonly call: number
  readonly state?: Uint8Array | undefined
  readonly hex?: string | undefined
  readonly problem?: string | undefined
}
