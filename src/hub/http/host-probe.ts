/**
 * Asks a plain web server for files that it may not have. Hosts say "no" in several ways: 404, 403, the page of a site; and, to a page of
 * another origin, with an answer that the browser withholds, because many servers send their CORS headers with what they have only.
 */

import { isAquatintError } from '../../errors.js'
import { FileLocation } from './file-location.js'
import { encodePath } from '../names.js'
import type { Network } from './piece-fetch.js'
import { probeFile } from './probe-file.js'

/** Whether a host says that it has no such file. Some say 403 for that. */
export function isAbsent(error: unknown): boolean {
  return isAquatintError(error) && (error.code === 'file-not-found' || error.code === 'forbidden')
}

export class HostProbe {
  readonly #network: Network
  /** Without a second try: "no" may look like a failure, and is the usual answer. */
  readonly #once: Network
  readonly #base: string
  readonly #signal: AbortSignal
  /** Something was there. */
  #found = false
  /** The host's "no" can be read, so that silence is no "no". */
  #saysNo = false

  /** @param base absolute URL with a slash at its end */
  constructor(network: Network, base: string, signal: AbortSignal) {
    this.#network = network
    this.#once = {
      fetch: network.fetch,
      settings: { ...network.settings, maxTries: 1 },
      lanesOf: (host) => network.lanesOf(host),
      random: () => network.random(),
    }
    this.#base = base
    this.#signal = signal
  }

  /** Bytes of a file, or undefined where it is not there. @throws HubError `network` and the like, AbortError */
  async sizeOf(path: string): Promise<number | undefined> {
    for (const network of [this.#once, this.#network]) {
      try {
        return await this.#ask(network, path)
      } catch (error) {
        if (isAbsent(error) || this.#isWithheld(error)) return undefined
        if (this.#signal.aborted || network === this.#network) throw error
      }
    }
    return undefined
  }

  /** Whether there is anything at `path`, as far as one request tells. Never throws but for an abort. */
  async has(path: string): Promise<boolean> {
    try {
      await this.#ask(this.#once, path)
      return true
    } catch (error) {
      if (this.#signal.aborted) throw error
      return false
    }
  }

  async #ask(network: Network, path: string): Promise<number> {
    try {
      const asked = { repository: this.#base, path }
      const { size } = await probeFile(network, new FileLocation(this.#base + encodePath(path)), asked, this.#signal)
      this.#found = true
      return size
    } catch (error) {
      if (isAbsent(error)) this.#saysNo = true
      throw error
    }
  }

  #isWithheld(error: unknown): boolean {
    return isAquatintError(error) && error.code === 'network' && this.#found && !this.#saysNo
  }
}
