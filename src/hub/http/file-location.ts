/**
 * The address of one file. A Hub redirects each file to a signed address that is good for a while; it is asked for once, kept in memory
 * only, and asked for again when it has expired. The token goes to the origin it was given for and nowhere else.
 */

import { orAbort } from '../../util/abort.js'
import { deferred } from '../../util/deferred.js'

/** An address to ask now. */
export interface RequestTarget {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Whether `url` is a remembered target of a redirect, which can expire. */
  readonly redirected: boolean
  /** Tells the outcome: the address that answered, or nothing where none did. Only the first call counts. */
  settle(answeredAt?: string): void
}

/** The address of one file, resolved once for many requests. */
export class FileLocation {
  /** The address that does not change. */
  readonly origin: string
  readonly #headers: Readonly<Record<string, string>>
  #current: string | undefined
  #resolving: Promise<void> | undefined
  #answered = false

  constructor(origin: string, headers: Readonly<Record<string, string>> = {}) {
    this.origin = origin
    this.#headers = headers
  }

  /** Whether anything ever answered here. */
  get answered(): boolean {
    return this.#answered
  }

  /** The address to ask. Until the redirect is known, one caller gets the origin and the others wait for its answer. */
  async requestTarget(signal: AbortSignal): Promise<RequestTarget> {
    for (;;) {
      const current = this.#current
      if (current !== undefined) {
        const same = new URL(current).origin === new URL(this.origin).origin
        return { url: current, headers: same ? this.#headers : {}, redirected: current !== this.origin, settle: () => {} }
      }
      if (this.#resolving === undefined) return this.#resolve()
      await orAbort(this.#resolving, signal)
    }
  }

  /** Forgets a redirect's target that is no longer good. */
  expire(url: string): void {
    if (this.#current === url) this.#current = undefined
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
        if (answeredAt !== undefined && answeredAt !== '') {
          this.#current = answeredAt
          this.#answered = true
        }
        this.#resolving = undefined
        resolve()
      },
    }
  }
}
