/** Reads the body of an answer and counts its bytes. If the count is wrong, the error identifies an HTML page or a Git LFS pointer. */

import { HubError } from '../../errors.js'
import { freeBytes } from '../../util/free-bytes.js'
import { recognizeContent, recognizedBytes } from '../../util/known-content.js'
import { nameOf, type Requested } from './http-errors.js'

/** Bytes of the buffer that all reads of a body share, if the browser supports that. */
const readBytes = 256 << 10

/**
 * Receives consecutive bytes of a body. The next read, which may reuse their memory, waits until the sink has returned and its promise has
 * resolved.
 */
export type Sink = (bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>

/** Reports that the request makes progress, and sets for how many milliseconds the server may be silent from then on. */
export type Alive = (allowance?: number) => void

/** What is known about a body before it is read. */
export interface BodyChecks {
  /** Bytes at the body's beginning that were not requested. */
  readonly skip: number
  /** Bytes that the body must have after the skipped ones, when known. */
  readonly expected: number | undefined
  /** Whether bytes that were not requested follow the requested ones. */
  readonly hasMore: boolean
  /** Whether the body's first byte is the file's first byte. */
  readonly isFileStart: boolean
  readonly requested: Requested
  readonly signal: AbortSignal
  readonly alive: Alive
}

/**
 * Passes the requested bytes of a body to the sink.
 * @throws HubError `short-body`, `size-mismatch`, `range-not-honoured`; `html-page`, `lfs-pointer` if the body is one of these instead of the file
 */
export async function readBody(response: Response, sink: Sink, checks: BodyChecks): Promise<void> {
  const { expected, hasMore, isFileStart, requested, signal, alive } = checks
  const page = isPage(response.headers)
  let head: Uint8Array | undefined
  let toSkip = checks.skip
  let count = 0
  const fail = (error: HubError) => (head === undefined ? error : (wrongContent(head, requested, response) ?? error))
  if (response.body !== null) {
    const read = bodyReader(response.body)
    for (;;) {
      // The sink may have cancelled the download. In Node a read that begins after that may never end.
      signal.throwIfAborted()
      const value = await read()
      if (value === undefined) break
      alive()
      if (isFileStart && head === undefined && value.length > 0) {
        head = value.slice(0, recognizedBytes)
        // Some servers send every file as HTML, so the bytes decide.
        if (page && !/\.html?$/i.test(requested.path ?? '')) {
          const error = wrongContent(head, requested, response)
          if (error !== undefined) throw error
        }
      }
      const begin = Math.min(toSkip, value.length)
      toSkip -= begin
      let part = value.subarray(begin)
      count += part.length
      if (expected !== undefined && count > expected) {
        // A body with more bytes than expected is not the requested range or file.
        if (!hasMore) throw fail(tooLong(response, requested, expected, count))
        part = part.subarray(0, part.length - (count - expected))
        count = expected
      }
      const pending = sink(part)
      if (pending !== undefined) {
        // The body is not read while the sink is busy, so the server does not count as silent.
        alive(Infinity)
        await pending
        alive()
      }
      if (hasMore && count === expected) return
    }
  }
  if (expected !== undefined && count < expected) throw fail(shortBody(requested, expected, count))
}

/** Whether an answer is an HTML page, by its Content-Type. */
export function isPage(headers: Headers): boolean {
  return /^\s*text\/html\b/i.test(headers.get('content-type') ?? '')
}

/** The error for an answer that ended after `actual` of `expected` bytes. */
export function shortBody(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('short-body', `${nameOf(requested)}: the answer ended after ${actual} of ${expected} bytes.`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

/** The error for a file that has another size than the repository lists. */
export function sizeMismatch(requested: Requested, expected: number, actual: number): HubError {
  return new HubError('size-mismatch', `${nameOf(requested)} has ${actual} bytes; the repository lists ${expected}.`, {
    path: requested.path ?? '',
    expected,
    actual,
  })
}

/** The error for a page or a Git LFS pointer in place of a file; undefined where the bytes are neither. */
export function wrongContent(head: Uint8Array, requested: Requested, response: Response): HubError | undefined {
  const known = recognizeContent(head)
  if (known?.code !== 'html-page' && known?.code !== 'lfs-pointer') return undefined
  const details = { repository: requested.repository, path: requested.path ?? '' }
  const redirect =
    known.code === 'html-page' && response.redirected ? ` The request was redirected to ${originOf(response.url)}.` : ''
  return new HubError(known.code, `${nameOf(requested)} ${known.what}.${redirect}`, details)
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'another address'
}

function tooLong({ status }: Response, requested: Requested, expected: number, count: number): HubError {
  if (status !== 206) return sizeMismatch(requested, expected, count)
  const message = `${nameOf(requested)}: the server sent more than the ${expected} requested bytes.`
  return new HubError('range-not-honoured', message, { path: requested.path ?? '', expected })
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
