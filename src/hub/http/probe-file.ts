/** Asks a plain web server how long a file is, and by which validator (ETag or Last-Modified) a change of its content shows. */

import { HubError, isAquatintError } from '../../errors.js'
import { encodePath, isSize } from '../names.js'
import { isPage } from './fetch-json.js'
import { FileLocation } from './file-location.js'
import { badAnswer, fileNotFound, nameOf, type Requested } from './http-errors.js'
import { fetchRange, PassOn, stalled, type RangeAnswer } from './range-fetch.js'
import { retrying } from './retry.js'
import type { Transport } from './transport.js'

/** What a server says about a file. */
export interface ProbedFile {
  /** In bytes. */
  readonly size: number
  readonly validator: string | undefined
}

/** Ends a request whose headers were all that was needed. */
class HeadersReceived extends PassOn {}

/** @throws HubError `file-not-found`, `size-unknown`, `bad-answer`, and what fetchRange throws */
export async function probeFile(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<ProbedFile> {
  const answer = await retrying(transport, signal, () => probeOnce(transport, location, requested, signal))
  if (isPage(answer.headers) && !/\.html?$/i.test(requested.path ?? '')) throw fileNotFound(requested, 200)
  const size = answer.total ?? (await sizeByHead(transport, location, requested, signal))
  if (size === undefined) {
    const message = `${nameOf(requested)}: the server does not say how long the file is. Add a files.json beside the files.`
    throw new HubError('size-unknown', message, { path: requested.path ?? '' })
  }
  if (!isSize(size)) throw badAnswer(requested, `it says that the file is ${String(size)} bytes long`)
  return { size, validator: answer.validator }
}

/** Requests the first byte: the answer's Content-Range has the length of the whole file. */
async function probeOnce(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<RangeAnswer | undefined> {
  const target = await location.requestTarget(signal)
  let received: RangeAnswer | undefined
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
        received = answer
        throw new HeadersReceived()
      },
    })
  } catch (error) {
    // An empty file has no first byte.
    const empty = isAquatintError(error) && error.code === 'size-mismatch' && error.details['status'] === 416
    if (empty) return { kind: 'part', url: target.url, total: 0, validator: undefined, headers: new Headers() }
    if (!(error instanceof HeadersReceived)) throw error
  } finally {
    target.settle()
  }
  return received
}

/** The size by a HEAD request: a page can read Content-Length across origins where it cannot read Content-Range. @throws HubError `stalled` */
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
    const isReported = response.ok && response.headers.get('content-encoding') === null && length !== null && /^\d+$/.test(length)
    return isReported ? Number(length) : undefined
  } catch {
    signal.throwIfAborted()
    if (silence.aborted) throw stalled(requested, stallMs)
    return undefined
  } finally {
    target.settle()
  }
}

/** Whether an error means that the host does not have the file. Some hosts answer 403 instead of 404. */
export function isAbsent(error: unknown): boolean {
  return isAquatintError(error) && (error.code === 'file-not-found' || error.code === 'forbidden')
}

/**
 * Finds out which files a host has. To a page on another origin, a host whose 404 answers lack CORS headers seems not to answer at all:
 * once one file was found and no 404 could be read, a failed connection therefore counts as "not there".
 */
export class HostProbe {
  readonly #transport: Transport
  /** Tries each request once: "not there" may look like a failure, and is the usual answer. */
  readonly #singleTry: Transport
  readonly #base: string
  readonly #signal: AbortSignal
  #foundAny = false
  /** Whether the page could read an answer that says "not there". */
  #readsAbsence = false

  /** @param base absolute URL with a slash at its end */
  constructor(transport: Transport, base: string, signal: AbortSignal) {
    this.#transport = transport
    this.#singleTry = { ...transport, settings: { ...transport.settings, maxTries: 1 } }
    this.#base = base
    this.#signal = signal
  }

  /** Bytes of a file, or undefined when the host does not have it. @throws HubError `network` and others, AbortError */
  async sizeOf(path: string): Promise<number | undefined> {
    for (const transport of [this.#singleTry, this.#transport]) {
      try {
        return await this.#probe(transport, path)
      } catch (error) {
        if (isAbsent(error) || this.#isHiddenAbsence(error)) return undefined
        if (this.#signal.aborted || transport === this.#transport) throw error
      }
    }
    return undefined
  }

  /** Whether one request finds anything at `path`. Throws only when the signal is aborted. */
  async has(path: string): Promise<boolean> {
    try {
      await this.#probe(this.#singleTry, path)
      return true
    } catch (error) {
      if (this.#signal.aborted) throw error
      return false
    }
  }

  async #probe(transport: Transport, path: string): Promise<number> {
    try {
      const requested = { repository: this.#base, path }
      const { size } = await probeFile(transport, new FileLocation(this.#base + encodePath(path)), requested, this.#signal)
      this.#foundAny = true
      return size
    } catch (error) {
      if (isAbsent(error)) this.#readsAbsence = true
      throw error
    }
  }

  #isHiddenAbsence(error: unknown): boolean {
    return isAquatintError(error) && error.code === 'network' && this.#foundAny && !this.#readsAbsence
  }
}
