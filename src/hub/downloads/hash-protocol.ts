/** The messages between hash-thread.ts and the worker that hashes downloads. */

import type { ExpectedHash } from '../stored-file.js'

/** A call to the worker. `call` is the number of the call, `file` the number of the hasher. */
export type HashCall = { readonly call: number; readonly file: number } & (
  | {
      readonly kind: 'create'
      readonly algorithm: ExpectedHash['algorithm']
      /** Bytes of the file. */
      readonly size: number
      /** The saved state to resume from. */
      readonly state: Uint8Array | undefined
    }
  | { readonly kind: 'update'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'digest' }
  | { readonly kind: 'close' }
)

/** The answer to a call: the state after an update, the digest in hex, or the message of an error. */
export interface HashAnswer {
  readonly call: number
  readonly state?: Uint8Array | undefined
  readonly hex?: string | undefined
  readonly problem?: string | undefined
}
