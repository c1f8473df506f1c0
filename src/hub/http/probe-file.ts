/** Asks a plain web server how long a file is, and for the validator (ETag or Last-Modified) that shows a change of its content. */

import { HubError, isAquatintError } from '../../errors.js'
import { formatBytes } from '../../util/format-bytes.js'
import { encodePath, isSize } from '../names.js'
import type { ByteRange } from '../types.js'
import { FileLocation } from './file-location.js'
import { badAnswer, fileNotFound, isForbidden, nameOf, type Requested } from './http-errors.js'
import { isPage } from './answer-body.js'
import { fetchRange, isEncoded, PassOn, stalled, type RangeAnswer } from './range-fetch.js'
import { retrying } from './retry.js'
import type { Transport } from './transport.js'

/** What a server says about a file. */
export interface ProbedFile {
  /** The file's size in bytes. */
  readonly size: number
  readonly validator: string | undefined
}

/** Ends a request once enough of its answer was received. */
class EnoughReceived extends PassOn {}

/** If the server does not state a file's length, as for compressed configs, the file is downloaded to count its bytes, up to this many. */
const countedBytes = 64 << 20

/** The answer to a probe. */
interface Probe {
  readonly answer: RangeAnswer
  /** Whether the answer is an HTML page. Servers may send files with this type too, so the first byte decides. */
  readonly isPage: boolean
}

/** @throws HubError `file-not-found`, `size-unknown`, `bad-answer`, and what fetchRange throws */
export async function probeFile(
  transport: Transport,
  location: FileLocation,
  requested: Requested,
  signal: AbortSignal,
): Promise<ProbedFile> {
  const ask = { transport, location, requested, signal }
  const { answer, isPage } = await retrying(transport, signal, () => probeOnce(ask, { begin: 0, end: 1 })).catch(
    (error: unknown) => {
      // Some servers compress every answer: a browser rejects a compressed range, but not a compressed whole file. Others forbid ranges, or fail.
      if (isAquatintError(error, 'range-not-honoured', 'server-error') || isRangeFailure(error) || isForbidden(error))
        return probeOnce(ask, undefined)
      throw error
    },
  )
  if (isPage && !/\.html?$/i.test(requested.path ?? '')) throw fileNotFound(requested, 200)
  const size = answer.total ?? (await sizeByHead(transport, location, requested, signal)) ?? (await sizeByCounting(ask))
  if (size === undefined) {
    const message = `${nameOf(requested)}: the server does not say how long the file is, and it has more than ${formatBytes(countedBytes)}. Add a files.json beside the files.`
    throw new HubError('size-unknown', message, { path: requested.path ?? '' })
  }
  if (!isSize(size)) throw badAnswer(requested, `it says that the file is ${String(size)} bytes long`)
  return { size, validator: answer.validator }
}

function isRangeFailure(error: unknown): boolean {
  return isAquatintError(error, 'network') && error.details['reason'] === 'range'
}

interface Ask {
  readonly transport: Transport
  readonly location: FileLocation
  readonly requested: Requested
  readonly signal: AbortSignal
}

/**
 * Requests the first byte: the answer's Content-Range has the length of the whole file. Without `range` it requests the whole file, to read
 * the headers of the answer.
 */
async function probeOnce({ transport, location, requested, signal }: Ask, range: ByteRange | undefined): Promise<Probe> {
  const target = await location.requestTarget(signal)
  let answer: RangeAnswer | undefined
  let first: number | undefined
  try {
    await fetchRange({
      transport,
      url: target.url,
      headers: target.headers,
      range,
      size: undefined,
      requested,
      stallMs: transport.settings.stallMs,
      signal,
      accept: (received) => {
        target.settle(received.url)
        answer = received
        if (!isPage(received.headers)) throw new EnoughReceived()
        return ([byte]) => {
          first = byte
          throw new EnoughReceived()
        }
      },
    })
  } catch (error) {
    const emptyFile = isAquatintError(error, 'size-mismatch') && error.details['status'] === 416
    if (emptyFile) {
      // An empty file has no first byte. A server may also answer 416 for another file by mistake, but then it states the file's length.
      const total = error.details['actual']
      return { answer: partOf(target.url, typeof total === 'number' ? total : undefined), isPage: false }
    }
    // fetchRange throws `html-page` if the body is an HTML page instead of the file.
    if (isAquatintError(error, 'html-page')) return { answer: partOf(target.url, undefined), isPage: true }
    if (!(error instanceof EnoughReceived)) throw error
  } finally {
    target.settle()
  }
  if (answer === undefined) throw badAnswer(requested, 'it is empty')
  return {
    answer,
    isPage: isPage(answer.headers) && (first === undefined || ' \t\r\n<\xef'.includes(String.fromCharCode(first))),
  }
}

function partOf(url: string, total: number | undefined): RangeAnswer {
  return { kind: 'part', skip: 0, url, total, validator: undefined, headers: new Headers() }
}

/** Finds a file's size by downloading and counting its bytes; undefined if the file is longer than {@link countedBytes}. */
async function sizeByCounting({ transport, location, requested, signal }: Ask): Promise<number | undefined> {
  const count = async () => {
    const target = await location.requestTarget(signal)
    let bytes = 0
    try {
      await fetchRange({
        transport,
        url: target.url,
        headers: target.headers,
        range: undefined,
        size: undefined,
        requested,
        stallMs: transport.settings.stallMs,
        signal,
        accept: (answer) => {
          target.settle(answer.url)
          return (part) => {
            bytes += part.length
            if (bytes > countedBytes) throw new EnoughReceived()
          }
        },
      })
    } catch (error) {
      if (isAquatintError(error, 'size-mismatch')) return 0
      if (!(error instanceof EnoughReceived)) throw error
    } finally {
      target.settle()
    }
    return bytes
  }
  const bytes = await retrying(transport, signal, count)
  return bytes > countedBytes ? undefined : bytes
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
    const isReported = response.ok && !isEncoded(response.headers) && length !== null && /^\d+$/.test(length)
    // Servers that generate an answer while they send it report 0 here.
    return isReported && length !== '0' ? Number(length) : undefined
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
  return isAquatintError(error, 'file-not-found') || isForbidden(error)
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
  #sawPage = false
  #sawDenial = false

  /** @param base absolute URL with a slash at its end */
  constructor(transport: Transport, base: string, signal: AbortSignal) {
    this.#transport = transport
    this.#singleTry = { ...transport, settings: { ...transport.settings, maxTries: 1 } }
    this.#base = base
    this.#signal = signal
  }

  /** Whether the host answered a request for a file with an HTML page. */
  get sawPage(): boolean {
    return this.#sawPage
  }

  /** Whether the host denied access with status 403. */
  get sawDenial(): boolean {
    return this.#sawDenial
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

  /** Size in bytes of what the host sends for `path`, without retries; undefined on a failure. Throws only when the signal is aborted. */
  async sizeAtOnce(path: string): Promise<number | undefined> {
    try {
      return await this.#probe(this.#singleTry, path)
    } catch (error) {
      if (this.#signal.aborted) throw error
      return undefined
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
      if (isAquatintError(error, 'file-not-found') && error.details['status'] === 200) this.#sawPage = true
      if (isForbidden(error)) this.#sawDenial = true
      throw error
    }
  }

  #isHiddenAbsence(error: unknown): boolean {
    return isAquatintError(error) && error.code === 'network' && this.#foundAny && !this.#readsAbsence
  }
}
