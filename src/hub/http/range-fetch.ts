/**
 * The one place that requests bytes of files over HTTP. It sends a single request for one range and checks the answer as strictly as a
 * browser allows: status, Content-Range, count of bytes, silence. It does not retry; see retry.ts.
 */

import { HubError, isAquatintError, type ErrorDetail } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { parseContentRange } from '../chunk-layout.js'
import type { ByteRange } from '../types.js'
import { readBody, sizeMismatch, wrongContent, type Alive, type Sink } from './answer-body.js'
import { errorForAnswer, nameOf, type Requested } from './http-errors.js'
import type { Transport } from './transport.js'

/** An answer with bytes of the file: the requested range, or the whole file from its first byte. */
export interface RangeAnswer {
  readonly kind: 'part' | 'whole'
  /** Bytes that the answer has before those that were requested. */
  readonly skip: number
  /** The address that answered, after redirects. */
  readonly url: string
  /** Bytes of the whole file, when the answer says. */
  readonly total: number | undefined
  /** ETag or Last-Modified, when the page may read it: another value means other content. */
  readonly validator: string | undefined
  readonly headers: Headers
}

/** One request for a range of a file, or for the whole file. */
export interface RangeRequest {
  readonly transport: Pick<Transport, 'fetch' | 'failures'>
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Undefined requests the whole file. */
  readonly range: ByteRange | undefined
  /** Bytes of the whole file, when known. */
  readonly size: number | undefined
  readonly requested: Requested
  /** Milliseconds of silence after which the request is cancelled; `patienceMs`, when given, applies before the answer begins. */
  readonly stallMs: number
  readonly patienceMs?: number | undefined
  readonly signal: AbortSignal
  /** Receives the address that answered, after redirects, before the answer is checked. */
  readonly onAnswer?: ((url: string) => void) | undefined
  /** Called once the headers are checked. Returns the function that receives the bytes, or throws to refuse the answer. */
  readonly accept: (answer: RangeAnswer) => Sink
}

/**
 * Sends one request and hands over its body.
 * @throws HubError `network`, `cors`, `blocked-by-page`, `stalled`, `short-body`, `range-not-honoured`, `size-mismatch`, `html-page`,
 *   `lfs-pointer`, and those of {@link errorForAnswer}; AbortError
 */
export async function fetchRange(request: RangeRequest): Promise<void> {
  const { transport, url, range, size, requested } = request
  const headers = range === undefined ? request.headers : { ...request.headers, range: `bytes=${range.begin}-${range.end - 1}` }
  await watched(request, async (signal, alive) => {
    // `no-store`: with any other mode Chromium runs requests for one URL one after the other and keeps a second copy on disk.
    const response = await transport.fetch(url, { headers, cache: 'no-store', credentials: 'omit', redirect: 'follow', signal })
    alive()
    transport.failures.answered(url, response.url)
    if (response.url !== '') request.onAnswer?.(response.url)
    const seen = { url: response.url, validator: validatorOf(response.headers), headers: response.headers }
    const checks = { requested, signal, alive }
    if (isWhole(response, range)) {
      const sink = request.accept({ kind: 'whole', skip: 0, total: wholeLength(response), ...seen })
      return readBody(response, sink, { skip: 0, expected: size, hasMore: false, isFileStart: true, ...checks })
    }
    if (!isPart(response) || range === undefined) throw refusal(response, request)
    const part = checkPart(response, range, size, requested)
    if (part.isShorterFile) {
      // These bytes decide only which error is thrown.
      const head = new Uint8Array(await response.arrayBuffer())
      throw wrongContent(head, requested, response) ?? sizeMismatch(requested, size ?? 0, part.total ?? 0)
    }
    const sink = request.accept({ kind: 'part', skip: part.skip, total: part.total, ...seen })
    return readBody(response, sink, { ...part, isFileStart: range.begin === part.skip, ...checks })
  })
}

/** Whether an answer has the whole file: by its status, or because its Content-Range covers the file. */
function isWhole({ status, headers }: Response, range: ByteRange | undefined): boolean {
  if (isSuccess(status)) return range === undefined || !isPart({ status, headers })
  if (status !== 206 || range !== undefined) return false
  const header = headers.get('content-range')
  if (header === null) return true
  const parsed = parseContentRange(header)
  return parsed?.range?.begin === 0 && parsed.range.end === parsed.total
}

/**
 * Whether a status says, as 200 does, that the content follows. 203: a proxy changed the answer on its way. 204: some servers answer so for an empty
 * file. 226 and unregistered statuses: some servers and proxies send them.
 * Excluded: 202 (the content is not there yet), 205 (no content), 206 (a part), and 207 (several answers in one).
 */
function isSuccess(status: number): boolean {
  return status >= 200 && status < 300 && ![202, 205, 206, 207].includes(status)
}

/** Whether an answer has a part of the file: by its status, or by a Content-Range that some servers send with status 200. */
function isPart({ status, headers }: Pick<Response, 'status' | 'headers'>): boolean {
  if (status === 206) return true
  const { range, total } = parseContentRange(headers.get('content-range') ?? '') ?? {}
  return isSuccess(status) && range !== undefined && total !== undefined && range.end - range.begin < total
}

/** Content-Length of a whole answer. It is the file's length only when the body is not compressed. */
function wholeLength(response: Response): number | undefined {
  const length = response.headers.get('content-length')
  return length !== null && !isEncoded(response.headers) && /^\d{1,16}$/.test(length) ? Number(length) : undefined
}

/** The encodings that browsers decode. A body with another one, such as `aws-chunked` or `utf-8` after a careless upload, is passed on as it is. */
const compressions = /(?:^|,)\s*(?:(?:x-)?gzip|(?:x-)?compress|deflate|br|zstd|dcb|dcz)\s*(?:,|$)/i

/** Whether the body was compressed on its way, as far as the page can read that. */
export function isEncoded(headers: Headers): boolean {
  return compressions.test(headers.get('content-encoding') ?? '')
}

/**
 * The header that shows a change of the content: the ETag, or else Last-Modified. Servers and proxies that compress an answer weaken the ETag (`W/`)
 * or add the compression's name; the content of the file is the same.
 */
export function validatorOf(headers: Headers): string | undefined {
  const tag = headers.get('etag')
  if (tag === null) return headers.get('last-modified') ?? undefined
  return tag
    .trim()
    .replace(/^W\//i, '')
    .replace(/[-;:](?:gzip|br|zstd|deflate)"$/i, '"')
}

/** The bytes that a partial answer contains. */
interface Part {
  /** Bytes before the requested ones. */
  readonly skip: number
  /** Bytes of the requested range that the answer has. */
  readonly expected: number
  /** Whether bytes that were not requested follow the requested ones. */
  readonly hasMore: boolean
  readonly total: number | undefined
  /**
   * Whether the answer holds a whole, small file although the repository lists a larger one: its bytes may be an error page or a Git LFS
   * pointer.
   */
  readonly isShorterFile: boolean
}

/** The most bytes of a file that may be a Git LFS pointer or a short page. */
const smallFile = 4096

/**
 * Compares the Content-Range with the request. A server may send more than was requested: only the requested bytes are used. An answer that covers
 * less is refused, unless the file ends there. @throws HubError `range-not-honoured`, `size-mismatch`
 */
function checkPart({ headers }: Response, range: ByteRange, size: number | undefined, requested: Requested): Part {
  const length = range.end - range.begin
  if (isEncoded(headers) || /^\s*multipart\//i.test(headers.get('content-type') ?? ''))
    throw notHonoured(requested, range, isEncoded(headers) ? 'compressed bytes' : 'several parts in one answer')
  const header = headers.get('content-range')
  // A page cannot read Content-Range of another origin that does not expose it (CORS). The byte count and the hash are checked later.
  if (header === null) return { skip: 0, expected: length, hasMore: false, total: undefined, isShorterFile: false }
  const parsed = parseContentRange(header)
  const { total } = parsed ?? {}
  const contentRange = { contentRange: header.slice(0, 100) }
  if (parsed?.range === undefined || parsed.range.begin > range.begin || parsed.range.end <= range.begin)
    throw notHonoured(requested, range, JSON.stringify(header.slice(0, 100)), contentRange)
  if (size !== undefined && total !== undefined && total !== size) {
    if (total >= size || total > smallFile || range.begin > 0) throw sizeMismatch(requested, size, total)
    return { skip: 0, expected: length, hasMore: false, total, isShorterFile: true }
  }
  const end = Math.min(range.end, total ?? range.end)
  if (parsed.range.end < end) throw notHonoured(requested, range, `only ${JSON.stringify(header.slice(0, 100))}`, contentRange)
  return {
    skip: range.begin - parsed.range.begin,
    expected: end - range.begin,
    hasMore: parsed.range.end > range.end,
    total,
    isShorterFile: false,
  }
}

/** The statuses by which servers and firewalls that do not support ranges refuse a request for a range. */
const rangeRefusals: ReadonlySet<number> = new Set([400, 405, 406, 412, 417, 501])

/** The error for an answer without bytes of the file. */
function refusal(response: Response, { range, size, requested }: RangeRequest): HubError {
  const { status } = response
  const { total } = parseContentRange(response.headers.get('content-range') ?? '') ?? {}
  if (range !== undefined) {
    if (status === 416 && size !== undefined && range.end <= size && (total ?? size) === size)
      return notHonoured(requested, range, 'status 416, although the file has them')
    // The server may merely not support ranges. If the file itself is the problem, a request for the whole file shows that.
    if (rangeRefusals.has(status)) return notHonoured(requested, range, `status ${status}`, { status })
  }
  return errorForAnswer(response, requested, Date.now())
}

/** The server did not send the requested range. @param sent what it sent instead @param more details */
function notHonoured(
  requested: Requested,
  { begin, end }: ByteRange,
  sent: string,
  more: Readonly<Record<string, ErrorDetail>> = {},
): HubError {
  const message = `${nameOf(requested)}: bytes ${begin}-${end - 1} were requested; the server sent ${sent}.`
  return new HubError('range-not-honoured', message, { path: requested.path ?? '', begin, end, ...more })
}

/** The server sent nothing for too long. */
export function stalled(requested: Requested, milliseconds: number): HubError {
  return new HubError('stalled', `${nameOf(requested)}: the server sent nothing for ${milliseconds / 1000} s.`, {
    path: requested.path ?? '',
    milliseconds,
  })
}

/** Runs a request under a signal that fires when the caller's signal does, or when the server is silent for too long. */
async function watched(request: RangeRequest, run: (signal: AbortSignal, alive: Alive) => Promise<void>): Promise<void> {
  const { signal: outer, stallMs, requested } = request
  outer.throwIfAborted()
  const controller = new AbortController()
  const abort = () => controller.abort(outer.reason)
  outer.addEventListener('abort', abort, { once: true })
  const watch = new SilenceWatch(stallMs, request.patienceMs ?? stallMs, () => controller.abort(stalled(requested, stallMs)))
  try {
    await run(controller.signal, (allowance) => watch.alive(allowance))
  } catch (error) {
    const reason: unknown = controller.signal.reason
    // The outer signal fires for another failure of the download, which is thrown as it is, or for the caller's abort.
    if (outer.aborted) throw isAquatintError(reason) ? reason : abortError(outer)
    if (controller.signal.aborted && isAquatintError(reason)) throw reason
    if (isAquatintError(error) || error instanceof PassOn) throw error
    watch.stop()
    const { url, headers } = request
    throw await request.transport.failures.explain({ url, headers, requested, error, signal: outer })
  } finally {
    watch.stop()
    outer.removeEventListener('abort', abort)
    // Closes the connection when the body was not read to its end.
    controller.abort()
  }
}

/** Calls `onSilence` once no byte has arrived for too long. */
class SilenceWatch {
  readonly #stallMs: number
  readonly #onSilence: () => void
  /** From this time on the server has been silent for too long, unless bytes arrive before. */
  #deadline: number
  /** The timer is due at this time: at the deadline, or earlier. */
  #due = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param allowance milliseconds that the server may be silent at first */
  constructor(stallMs: number, allowance: number, onSilence: () => void) {
    this.#stallMs = stallMs
    this.#onSilence = onSilence
    this.#deadline = performance.now() + allowance
    this.#arm()
  }

  /** Bytes arrived: the server may be silent for `allowance` milliseconds from now on. */
  alive(allowance = this.#stallMs): void {
    this.#deadline = performance.now() + allowance
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #arm(): void {
    const now = performance.now()
    this.#due = Math.min(this.#deadline, now + this.#stallMs)
    this.#timer = setTimeout(() => this.#check(), Math.max(1, this.#due - now))
  }

  #check(): void {
    const now = performance.now()
    // A timer that fires far too late means that the page was suspended, not that the server was silent.
    if (now - this.#due >= this.#stallMs) this.#deadline = Math.max(this.#deadline, now + this.#stallMs)
    if (now < this.#deadline) this.#arm()
    else this.#onSilence()
  }
}

/** Thrown by `accept` or a sink to end a request that did not fail. */
export class PassOn extends Error {}
