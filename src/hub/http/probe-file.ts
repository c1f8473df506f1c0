/** Asks a plain web server how long a file is, and by what mark its content can be told from another. */

import { HubError, isAquatintError } from '../../errors.js'
import { isPage } from './fetch-json.js'
import { FileLocation } from './file-location.js'
import { badAnswer, fileNotFound, type Asked } from './http-errors.js'
import { retrying, type Network } from './piece-fetch.js'
import { fetchRange, PassOn, stalled, type RangeAnswer } from './range-fetch.js'
import { encodePath, isSize } from '../names.js'

export interface Probed {
  readonly size: number
  readonly validator: string | undefined
}

/** The headers are all that was wanted. */
class Seen extends PassOn {}

/** @throws HubError `file-not-found`, `size-unknown`, `bad-answer`, and what fetchRange throws */
export async function probeFile(network: Network, location: FileLocation, asked: Asked, signal: AbortSignal): Promise<Probed> {
  const answer = await retrying(network, signal, () => probeOnce(network, location, asked, signal))
  if (isPage(answer.headers) && !/\.html?$/i.test(asked.path ?? '')) throw fileNotFound(asked, 200)
  const size = answer.total ?? (await sizeByHead(network, location, asked, signal))
  if (size === undefined) {
    throw new HubError('size-unknown', `${asked.repository}: the server does not tell how long ${asked.path} is`, {
      path: asked.path ?? '',
    })
  }
  if (!isSize(size)) throw badAnswer(asked, `a length of ${String(size)} bytes`)
  return { size, validator: answer.validator }
}

async function probeOnce(
  network: Network,
  location: FileLocation,
  asked: Asked,
  signal: AbortSignal,
): Promise<RangeAnswer | undefined> {
  const lease = await location.lease(signal)
  let seen: RangeAnswer | undefined
  try {
    await fetchRange({
      fetch: network.fetch,
      url: lease.url,
      headers: lease.headers,
      range: { begin: 0, end: 1 },
      size: undefined,
      asked,
      stallMs: network.settings.stallMs,
      signal,
      accept: (answer) => {
        lease.settle(answer.url)
        seen = answer
        throw new Seen()
      },
    })
  } catch (error) {
    // An empty file has no first byte.
    const empty = isAquatintError(error) && error.code === 'size-mismatch' && error.details['status'] === 416
    if (empty) return { kind: 'part', url: lease.url, total: 0, validator: undefined, headers: new Headers() }
    if (!(error instanceof Seen)) throw error
  } finally {
    lease.settle()
  }
  return seen
}

/** Content-Length is readable across origins where Content-Range is not. @throws HubError `stalled` */
async function sizeByHead(
  network: Network,
  location: FileLocation,
  asked: Asked,
  signal: AbortSignal,
): Promise<number | undefined> {
  const lease = await location.lease(signal)
  const { stallMs } = network.settings
  const silence = AbortSignal.timeout(stallMs)
  try {
    const response = await network.fetch(lease.url, {
      method: 'HEAD',
      headers: lease.headers,
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.any([signal, silence]),
    })
    const length = response.headers.get('content-length')
    const told = response.ok && response.headers.get('content-encoding') === null && length !== null && /^\d+$/.test(length)
    return told ? Number(length) : undefined
  } catch {
    signal.throwIfAborted()
    if (silence.aborted) throw stalled(asked, stallMs)
    return undefined
  } finally {
    lease.settle()
  }
}

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
