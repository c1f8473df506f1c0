/**
 * The address of one file. A Hub redirects each file to a signed address that is valid for a while. The redirect is followed once, its
 * target is kept in memory only, and it is followed again when the signed address has expired. The access token goes to the origin it
 * was given for and to no other.
 */

import { orAbort } from '../../util/abort.js'
import { deferred } from '../../util/deferred.js'
import type { StoredFile } from '../stored-file.js'

/** Where the next request for a file goes. */
export interface RequestTarget {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Whether `url` is the remembered target of a redirect, which can expire. */
  readonly redirected: boolean
  /**
   * Reports the address that answered, or nothing if no address answered. Only the first call counts. The caller must call it, or other
   * requests wait.
   */
  settle(answeredAt?: string): void
}

/** The address of one file, resolved once for many requests. */
export class FileLocation {
  /** The address before redirects, which does not change. */
  readonly origin: string
  readonly #headers: Readonly<Record<string, string>>
  #current: string | undefined
  #resolving: Promise<void> | undefined
  #delivered = false
  /** Whether a redirect's target has answered a second request. */
  #reused = false
  /** How many targets in a row have expired after only one request. */
  #singleUses = 0

  /** @param headers sent to `origin`, and to a redirect's target on the same origin */
  constructor(origin: string, headers: Readonly<Record<string, string>> = {}) {
    this.origin = origin
    this.#headers = headers
  }

  /** Whether any byte of the file arrived in answer to a request for a range. */
  get hasDelivered(): boolean {
    return this.#delivered
  }

  /** Reports that bytes of the file arrived in answer to a request for a range. */
  delivered(): void {
    this.#delivered = true
  }

  /** Where to send a request. Until the redirect is known, one caller receives the origin and the others wait for its answer. */
  async requestTarget(signal: AbortSignal): Promise<RequestTarget> {
    for (;;) {
      const current = this.#current
      if (current !== undefined) {
        const same = new URL(current).origin === new URL(this.origin).origin
        const settle = (answeredAt?: string) => void (this.#reused ||= answeredAt !== undefined)
        return { url: current, headers: same ? this.#headers : {}, redirected: current !== this.origin, settle }
      }
      // Two addresses in a row have expired after one request each, so each request follows the redirect itself from now on.
      if (this.#singleUses >= 2) return { url: this.origin, headers: this.#headers, redirected: false, settle: () => {} }
      if (this.#resolving === undefined) return this.#resolve()
      await orAbort(this.#resolving, signal)
    }
  }

  /** Forgets a redirect's target that is no longer valid. */
  expire(url: string): void {
    if (this.#current !== url) return
    this.#current = undefined
    if (!this.#reused) this.#singleUses++
  }

  #resolve(): RequestTarget {
    const { promise, resolve } = deferred()
    this.#resolving = promise
    let open = true
    return {
      url: this.origin,
      headers: this.#headers,
      redirected: false,
      settle: (answeredAt) => {
        if (!open) return
        open = false
        if (answeredAt !== undefined && answeredAt !== '') this.#current = answeredAt
        this.#resolving = undefined
        resolve()
      },
    }
  }
}

/** A file of a server. */
export interface RemoteFile extends StoredFile {
  readonly location: FileLocation
}
