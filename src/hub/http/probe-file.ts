/** Asks a plain web server how long a file is, and by what mark its content can be told from another. */

import { HubError, isAquatintError } from '../../errors.js'
import { isPage } from './fetch-json.js'
import { FileLocation } from './file-location.js'
import { badAnswer, fileNotFound, type Requested } from './http-errors.js'
import { retrying, type Transport } from './piece-fetch.js'
import { fetchRange, PassOn, stalled, type RangeAnswer } from './range-fetch.js'
import { encodePath, isSize } from '../names.js'

export interface Probed {
  readonly size: number
  readonly validator: string | undefined
}

/** The headers are all that was wanted. */
class Seen extends PassOn {}

/** @throws HubError `file-not-found`, `size-unknown`, `bad-answer`, and what fetchRange throws */
export async function probeFile(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<Probed> {
  const answer = await retrying(transport, signal, () => probeOnce(transport, location, requested, signal))
  if (isPage(answer.headers) && !/\.html?$/i.test(requested.path ?? '')) throw fileNotFound(requested, 200)
  const size = answer.total ?? (await sizeByHead(transport, location, requested, signal))
  if (size === undefined) {
    throw new HubError('size-unknown', `${requested.repository}: the server does not tell how long ${requested.path} is`, {
      path: requested.path ?? '',
    })
  }
  if (!isSize(size)) throw badAnswer(requested, `a length of ${String(size)} bytes`)
  return { size, validator: answer.validator }
}

async function probeOnce(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<RangeAnswer | undefined> {
  const target = await location.requestTarget(signal)
  let seen: RangeAnswer | undefined
  try {
    await fetchRange({
      fetch: transport.fetch,
      url: target.url,
      headers: target.headers,
      range: { begin: 0, end: 1 },
      size: undefined,
      requested,
      stallMs: transport.settings.stallMs,
      signal,
      accept: (answer) => {
        target.settle(answer.url)
        seen = answer
        throw new Seen()
      },
    })
  } catch (error) {
    // An empty file has no first byte.
    const empty = isAquatintError(error) && error.code === 'size-mismatch' && error.details['status'] === 416
    if (empty) return { kind: 'part', url: target.url, total: 0, validator: undefined, headers: new Headers() }
    if (!(error instanceof Seen)) throw error
  } finally {
    target.settle()
  }
  return seen
}

/** Content-Length is readable across origins where Content-Range is not. @throws HubError `stalled` */
async function sizeByHead(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<number | undefined> {
  const target = await location.requestTarget(signal)
  const { stallMs } = transport.settings
  const silence = AbortSignal.timeout(stallMs)
  try {
    const response = await transport.fetch(target.url, {
      method: 'HEAD',
      headers: target.headers,
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.any([signal, silence]),
    })
    const length = response.headers.get('content-length')
    const told = response.ok && response.headers.get('content-encoding') === null && length !== null && /^\d+$/.test(length)
    return told ? Number(length) : undefined
  } catch {
    signal.throwIfAborted()
    if (silence.aborted) throw stalled(requested, stallMs)
    return undefined
  } finally {
    target.settle()
  }
}

/** Whether a host says that it has no such file. Some say 403 for that. */
export function isAbsent(error: unknown): boolean {
  return isAquatintError(error) && (error.code === 'file-not-found' || error.code === 'forbidden')
}

export class HostProbe {
  readonly #transport: Transport
  /** Without a second try: "no" may look like a failure, and is the usual answer. */
  readonly #once: Transport
  readonly #base: string
  readonly #signal: AbortSignal
  /** Something was there. */
  #found = false
  /** The host's "no" can be read, so that silence is no "no". */
  #saysNo = false

  /** @param base absolute URL with a slash at its end */
  constructor(transport: Transport, base: string, signal: AbortSignal) {
    this.#transport = transport
    this.#once = {
      fetch: transport.fetch,
      settings: { ...transport.settings, maxTries: 1 },
      connectionsTo: (host) => transport.connectionsTo(host),
      random: () => transport.random(),
    }
    this.#base = base
    this.#signal = signal
  }

  /** Bytes of a file, or undefined where it is not there. @throws HubError `network` and the like, AbortError */
  async sizeOf(path: string): Promise<number | undefined> {
    for (const transport of [this.#once, this.#transport]) {
      try {
        return await this.#ask(transport, path)
      } catch (error) {
        if (isAbsent(error) || this.#isWithheld(error)) return undefined
        if (this.#signal.aborted || transport === this.#transport) throw error
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

  async #ask(transport: Transport, path: string): Promise<number> {
    try {
      const requested = { repository: this.#base, path }
      const { size } = await probeFile(transport, new FileLocation(this.#base + encodePath(path)), requested, this.#signal)
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
