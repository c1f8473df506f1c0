/**
 * The one place that requests bytes of files over HTTP. It sends a single request for one range and checks the answer as strictly as a
 * browser allows: status, Content-Range, count of bytes, silence. It does not retry; see retry.ts.
 */

import { HubError, isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { freeBytes } from '../../util/free-bytes.js'
import { parseContentRange } from '../chunk-layout.js'
import { errorForAnswer, nameOf, type Requested } from './http-errors.js'
import { stripQuery } from '../names.js'
import type { ByteRange } from '../types.js'
import type { Fetch } from './transport.js'

/** The most bytes of a body that one read returns. */
const readBytes = 256 << 10

/** Takes consecutive bytes of a body. The memory is reused after it returns. While a promise it returns is pending, the body is not read. */
export type Sink = (bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>

/** An answer with bytes of the file: the requested range, or its beginning, or the whole file from its first byte. */
export interface RangeAnswer {
  readonly kind: 'part' | 'whole'
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
  readonly fetch: Fetch
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
  /** Called once the headers are checked; returns what takes the bytes, or throws to refuse the answer. */
  readonly accept: (answer: RangeAnswer) => Sink
}

/**
 * Sends one request and hands over its body.
 * @throws HubError `network`, `stalled`, `short-body`, `range-not-honoured`, `size-mismatch`, and those of {@link errorForAnswer}; AbortError
 */
export async function fetchRange(request: RangeRequest): Promise<void> {
  const { fetch, url, range, size, requested } = request
  const headers = range === undefined ? request.headers : { ...request.headers, range: `bytes=${range.begin}-${range.end - 1}` }
  await watched(request, async (signal, alive) => {
    // `no-store`: with any other mode Chromium runs requests for one URL one after the other and keeps a second copy on disk.
    const response = await fetch(url, { headers, cache: 'no-store', credentials: 'omit', redirect: 'follow', signal })
    alive()
    if (response.url !== '') request.onAnswer?.(response.url)
    const validator = response.headers.get('etag') ?? response.headers.get('last-modified') ?? undefined
    if (response.status === 200) {
      const sink = request.accept({
        kind: 'whole',
        url: response.url,
        total: wholeLength(response),
        validator,
        headers: response.headers,
      })
      return readBody(response, sink, { expected: size, requested, signal, alive })
    }
    if (response.status !== 206 || range === undefined) throw errorForAnswer(response, requested, Date.now())
    const { total, expected } = checkContentRange(response.headers.get('content-range'), range, size, requested)
    const sink = request.accept({ kind: 'part', url: response.url, total, validator, headers: response.headers })
    return readBody(response, sink, { expected, requested, signal, alive })
  })
}

/** Content-Length of a 200 answer. It is the file's length only when the body is not compressed. */
function wholeLength(response: Response): number | undefined {
  const length = response.headers.get('content-length')
  return length !== null && response.headers.get('content-encoding') === null && /^\d{1,16}$/.test(length)
    ? Number(length)
    : undefined
}

/** Compares the Content-Range with the request. @throws HubError `range-not-honoured`, `size-mismatch` */
function checkContentRange(header: string | null, range: ByteRange, size: number | undefined, requested: Requested) {
  const length = range.end - range.begin
  // Another origin may hide the header from the page. The count of bytes and the hash still check the answer.
  if (header === null) return { total: undefined, expected: length }
  const parsed = parseContentRange(header)
  const fits =
    parsed?.range !== undefined &&
    parsed.range.begin === range.begin &&
    parsed.range.end <= range.end &&
    parsed.range.end > range.begin
  if (parsed?.range === undefined || !fits) {
    throw new HubError(
      'range-not-honoured',
      `${nameOf(requested)}: bytes ${range.begin}-${range.end - 1} were requested; the server sent ${JSON.stringify(header.slice(0, 100))}.`,
      {
        path: requested.path ?? '',
        begin: range.begin,
        end: range.end,
        contentRange: header.slice(0, 100),
      },
    )
  }
  if (size !== undefined && parsed.total !== undefined && parsed.total !== size) throw sizeMismatch(requested, size, parsed.total)
  return { total: parsed.total, expected: parsed.range.end - parsed.range.begin }
}

/** The file has another size than the repository lists. */
function sizeMismatch(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('size-mismatch', `${nameOf(requested)} has ${actual} bytes; the repository lists ${expected}.`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

interface BodyChecks {
  /** Bytes that the body must have, when known. */
  readonly expected: number | undefined
  readonly requested: Requested
  readonly signal: AbortSignal
  readonly alive: Alive
}

/** Passes a body to the sink and counts its bytes. @throws HubError `short-body`, `size-mismatch`, `range-not-honoured` */
async function readBody(response: Response, sink: Sink, { expected, requested, signal, alive }: BodyChecks): Promise<void> {
  let count = 0
  if (response.body !== null) {
    const read = bodyReader(response.body)
    for (;;) {
      // The sink may have cancelled the download. In Node a read that begins after that may never end.
      signal.throwIfAborted()
      const value = await read()
      if (value === undefined) break
      alive()
      count += value.length
      // More bytes than requested: whatever they are, they are not the range.
      if (expected !== undefined && count > expected) {
        if (response.status === 200) throw sizeMismatch(requested, expected, count)
        throw new HubError(
          'range-not-honoured',
          `${nameOf(requested)}: the server sent more than the ${expected} requested bytes.`,
          {
            path: requested.path ?? '',
            expected,
          },
        )
      }
      const pending = sink(value)
      if (pending !== undefined) {
        // The server may be silent while the sink is busy.
        alive(Infinity)
        await pending
        alive()
      }
    }
  }
  if (expected !== undefined && count < expected) throw shortBody(requested, expected, count)
}

/** Fewer bytes arrived than the answer announced, or too few to be of use. */
export function shortBody(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('short-body', `${nameOf(requested)}: the answer ended after ${actual} of ${expected} bytes.`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

/** Reads a body part by part, into the same memory when the browser supports that: new memory for each part is garbage-collected late. */
function bodyReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): () => Promise<Uint8Array<ArrayBuffer> | undefined> {
  let reader: ReadableStreamBYOBReader
  try {
    reader = body.getReader({ mode: 'byob' })
  } catch {
    const plain = body.getReader()
    return async () => (await plain.read()).value
  }
  let buffer = new ArrayBuffer(readBytes)
  return async () => {
    const { done, value } = await reader.read(new Uint8Array(buffer))
    if (value !== undefined) buffer = value.buffer
    if (!done) return value
    freeBytes(new Uint8Array(buffer))
    return undefined
  }
}

/** The server sent nothing for too long. */
export function stalled(requested: Requested, milliseconds: number): HubError {
  return new HubError('stalled', `${nameOf(requested)}: the server sent nothing for ${milliseconds / 1000} s.`, {
    path: requested.path ?? '',
    milliseconds,
  })
}

/** Reports that the request makes progress, and sets for how many milliseconds it may be silent from now on. */
type Alive = (allowance?: number) => void

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
    const details = { path: requested.path ?? '', url: stripQuery(request.url) }
    throw new HubError('network', `${nameOf(requested)}: the connection failed.`, details, error)
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
  /** The silence lasts too long at this time. */
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
