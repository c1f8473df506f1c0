/**
 * The one place where bytes of files are asked for over HTTP: a single request for one range, checked as strictly as a browser lets us
 * (status, Content-Range, count of bytes, silence). It does not try again: see piece-fetch.ts.
 */

import { HubError, isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { freeBytes } from '../../util/free-bytes.js'
import { parseContentRange } from '../chunk-layout.js'
import { errorForAnswer, type Requested } from './http-errors.js'
import { stripQuery } from '../names.js'
import type { ByteRange } from '../types.js'

/** Most bytes of a body that are read at once. */
const readBytes = 256 << 10

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** Takes consecutive bytes of a body, which are its own only until it returns; a promise holds the body back. */
export type Sink = (bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>

/** An answer that holds bytes of the file: the range asked for (or its beginning), or the whole file from its first byte. */
export interface RangeAnswer {
  readonly kind: 'part' | 'whole'
  /** Where the answer came from after redirects. */
  readonly url: string
  /** Size of the whole file, where the answer tells. */
  readonly total: number | undefined
  /** ETag or Last-Modified, where readable: another value means other content. */
  readonly validator: string | undefined
  readonly headers: Headers
}

export interface RangeRequest {
  readonly fetch: Fetch
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Undefined asks for the whole file. */
  readonly range: ByteRange | undefined
  /** Size of the whole file where it is known. */
  readonly size: number | undefined
  readonly requested: Requested
  /** Silence after which the request is given up, in milliseconds; before the first byte of the answer, `patienceMs` if it is there. */
  readonly stallMs: number
  readonly patienceMs?: number | undefined
  readonly signal: AbortSignal
  /** Told where an answer came from, after redirects, before it is checked. */
  readonly onAnswer?: ((url: string) => void) | undefined
  /** Called once the headers are checked; returns the taker of the bytes, or throws to refuse the answer. */
  readonly accept: (answer: RangeAnswer) => Sink
}

/**
 * Sends one request and hands over its body.
 * @throws HubError `network`, `stalled`, `short-body`, `range-not-honoured`, `size-mismatch` or what {@link errorForAnswer} says; AbortError
 */
export async function fetchRange(request: RangeRequest): Promise<void> {
  const { fetch, url, range, size, requested } = request
  const headers = range === undefined ? request.headers : { ...request.headers, range: `bytes=${range.begin}-${range.end - 1}` }
  await watched(request, async (signal, alive) => {
    // `no-store`: with any other mode Chromium runs requests for one URL one after the other, and keeps a second copy on disk.
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
      return pump(response, sink, size, requested, signal, alive)
    }
    if (response.status !== 206 || range === undefined) throw errorForAnswer(response, requested, Date.now())
    const { total, expected } = checkContentRange(response.headers.get('content-range'), range, size, requested)
    const sink = request.accept({ kind: 'part', url: response.url, total, validator, headers: response.headers })
    return pump(response, sink, expected, requested, signal, alive)
  })
}

/** Content-Length of a 200 answer, which counts the file's own bytes only where nothing was encoded. */
function wholeLength(response: Response): number | undefined {
  const length = response.headers.get('content-length')
  return length !== null && response.headers.get('content-encoding') === null && /^\d{1,16}$/.test(length)
    ? Number(length)
    : undefined
}

function checkContentRange(header: string | null, range: ByteRange, size: number | undefined, requested: Requested) {
  const length = range.end - range.begin
  // Another origin may not let us read it; then the count of bytes and the hash must do.
  if (header === null) return { total: undefined, expected: length }
  const told = parseContentRange(header)
  const fits =
    told?.range !== undefined && told.range.begin === range.begin && told.range.end <= range.end && told.range.end > range.begin
  if (told?.range === undefined || !fits) {
    throw new HubError(
      'range-not-honoured',
      `${named(requested)}: asked for bytes ${range.begin}-${range.end - 1}, the server sent ${JSON.stringify(header.slice(0, 100))}`,
      {
        path: requested.path ?? '',
        begin: range.begin,
        end: range.end,
        contentRange: header.slice(0, 100),
      },
    )
  }
  if (size !== undefined && told.total !== undefined && told.total !== size) throw sizeMismatch(requested, size, told.total)
  return { total: told.total, expected: told.range.end - told.range.begin }
}

/** The file has another size than its listing says. */
function sizeMismatch(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('size-mismatch', `${named(requested)} has ${actual} bytes; its listing says ${expected}`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

async function pump(
  response: Response,
  sink: Sink,
  expected: number | undefined,
  requested: Requested,
  signal: AbortSignal,
  alive: Alive,
): Promise<void> {
  let count = 0
  if (response.body !== null) {
    const read = reading(response.body)
    for (;;) {
      // Whoever takes the bytes may stop the download. In Node a read that begins after that may never end.
      signal.throwIfAborted()
      const value = await read()
      if (value === undefined) break
      alive()
      count += value.length
      // More than was asked for: whatever it is, it is not the range.
      if (expected !== undefined && count > expected) {
        if (response.status === 200) throw sizeMismatch(requested, expected, count)
        throw new HubError(
          'range-not-honoured',
          `${named(requested)}: the server sent more than the ${expected} bytes asked for`,
          {
            path: requested.path ?? '',
            expected,
          },
        )
      }
      const held = sink(value)
      if (held !== undefined) {
        // While we are the ones who are slow, the server may be silent.
        alive(Infinity)
        await held
        alive()
      }
    }
  }
  if (expected !== undefined && count < expected) throw shortBody(requested, expected, count)
}

/** Fewer bytes came than the answer said, or than could be of use. */
export function shortBody(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('short-body', `${named(requested)}: the answer ended after ${actual} of ${expected} bytes`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

/** Reads a body part by part into the same memory, where the browser can: else what was read is garbage that is collected late. */
function reading(body: ReadableStream<Uint8Array<ArrayBuffer>>): () => Promise<Uint8Array<ArrayBuffer> | undefined> {
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

/** The server was silent for too long. */
export function stalled(requested: Requested, milliseconds: number): HubError {
  return new HubError('stalled', `${named(requested)}: no byte for ${milliseconds / 1000} s`, {
    path: requested.path ?? '',
    milliseconds,
  })
}

/** Says that the request goes on, and how long it may be silent now. */
type Alive = (allowance?: number) => void

/** Runs a request under a signal that fires when the caller's does, or when the silence lasts too long. */
async function watched(request: RangeRequest, run: (signal: AbortSignal, alive: Alive) => Promise<void>): Promise<void> {
  const { signal: outer, stallMs, requested } = request
  outer.throwIfAborted()
  const controller = new AbortController()
  const leave = () => controller.abort(outer.reason)
  outer.addEventListener('abort', leave, { once: true })
  let deadline = performance.now() + (request.patienceMs ?? stallMs)
  let timer: ReturnType<typeof setTimeout> | undefined
  let due = 0
  const arm = () => {
    due = Math.min(deadline, performance.now() + stallMs)
    timer = setTimeout(check, Math.max(1, due - performance.now()))
  }
  const check = () => {
    const now = performance.now()
    // A timer that fires much too late means that the page was frozen, not that the server was silent.
    if (now - due >= stallMs) deadline = Math.max(deadline, now + stallMs)
    if (now < deadline) return arm()
    controller.abort(stalled(requested, stallMs))
  }
  arm()
  try {
    await run(controller.signal, (allowance = stallMs) => {
      deadline = performance.now() + allowance
    })
  } catch (error) {
    const reason: unknown = controller.signal.reason
    // The reason is thrown as such: an error inside the download, or the caller's abort.
    if (outer.aborted) throw isAquatintError(reason) ? reason : abortError(outer)
    if (controller.signal.aborted && isAquatintError(reason)) throw reason
    if (isAquatintError(error) || error instanceof PassOn) throw error
    throw new HubError(
      'network',
      `${named(requested)}: the connection failed`,
      { path: requested.path ?? '', url: stripQuery(request.url) },
      error,
    )
  } finally {
    clearTimeout(timer)
    outer.removeEventListener('abort', leave)
    // Ends the connection where the body was not read to its end.
    controller.abort()
  }
}

/** Thrown by `accept` or a sink to leave a request for a reason that is no failure of it. */
export class PassOn extends Error {}

function named(requested: Requested): string {
  return requested.path === undefined ? requested.repository : `${requested.repository}: ${requested.path}`
}
