/** Fetches one piece of a file into memory. Where a connection ends early, it requests the bytes that are still missing. */

import { isAquatintError } from '../../errors.js'
import type { ByteRange } from '../types.js'
import type { ConnectionSlot } from './connections.js'
import { fileChanged, isForbidden, urlExpired } from './http-errors.js'
import { shortBody, type Sink } from './answer-body.js'
import { fetchRange, PassOn, type RangeAnswer } from './range-fetch.js'
import { requestedWait, retrying } from './retry.js'
import type { Transport } from './transport.js'
import type { RemoteFile } from './file-location.js'

/** The answer is the whole file, or begins far before the requested range, so the file must be read as one stream. */
export class RangesIgnored extends PassOn {}

/**
 * Whether a request for the whole file may work where one for a range has failed. Some servers compress every answer, and browsers reject a compressed
 * range as a failed connection; others forbid ranges (status 403), fail at them (status 500), or answer them with nothing.
 */
export function mayLackRanges(error: unknown, { location }: RemoteFile): boolean {
  if (error instanceof RangesIgnored || isAquatintError(error, 'range-not-honoured')) return true
  if (location.hasDelivered) return false
  const isEmpty = isAquatintError(error, 'short-body') && error.details['actual'] === 0
  return isEmpty || isAquatintError(error, 'network', 'server-error') || isForbidden(error)
}

/** The piece is whole, and the rest of the answer is not needed. */
class PieceReceived extends PassOn {}

/** If an answer begins before the requested piece: the most bytes to receive and drop until the piece begins. */
const mostSkipped = 1 << 20

/** A request that the browser may queue may be silent for this many times `stallMs` before its first byte. */
const queuePatience = 10

/** An attempt that brings at least this many bytes is progress. Fewer could keep a download going for ever. */
const progressBytes = 64 << 10

/** One piece of a file, and the memory that its bytes go to. */
export interface FilePiece {
  readonly file: RemoteFile
  readonly range: ByteRange
  /** The memory for the piece, as long as `range`. */
  readonly target: Uint8Array
  readonly signal: AbortSignal
  /** Receives the number of bytes that arrived; a negative number when bytes were discarded. */
  readonly onBytes: (count: number) => void
  /**
   * Whether to take the piece from an answer with the whole file, and to cancel the rest of that answer: `sent` if the server sends the whole
   * file although a range was requested, `requested` to request the whole file. Default: never.
   */
  readonly fromWhole?: 'sent' | 'requested'
}

/**
 * Fills the target of a piece.
 * @throws RangesIgnored when the piece may not be taken from the whole file, or an answer begins far before it; HubError; AbortError
 */
export async function fetchPiece(transport: Transport, piece: FilePiece): Promise<void> {
  const fetch = new PieceFetch(transport, piece)
  await retrying(
    transport,
    piece.signal,
    () => fetch.attempt(),
    () => fetch.madeProgress(),
  )
}

class PieceFetch {
  readonly #transport: Transport
  readonly #piece: FilePiece
  readonly #length: number
  #received = 0
  /** Bytes received before the current attempt. */
  #before = 0

  constructor(transport: Transport, piece: FilePiece) {
    this.#transport = transport
    this.#piece = piece
    this.#length = piece.range.end - piece.range.begin
  }

  /** Requests the bytes that are still missing. Returns when the piece is whole. */
  async attempt(): Promise<true> {
    const { file, range, signal, fromWhole } = this.#piece
    this.#before = this.#received
    const rest = { begin: range.begin + this.#received, end: range.end }
    try {
      await requestFile(this.#transport, {
        file,
        range: fromWhole === 'requested' ? undefined : rest,
        signal,
        accept: (answer, slot) => this.#accept(answer, slot),
      })
    } catch (error) {
      if (error instanceof PieceReceived) return true
      // The bytes of this answer may be from anywhere in the file.
      if (isAquatintError(error) && error.code === 'range-not-honoured') this.#discard()
      throw error
    }
    if (this.#received < this.#length) throw shortBody(file, rest.end - rest.begin, this.#received - this.#before)
    return true
  }

  madeProgress(): boolean {
    return this.#received - this.#before >= Math.min(progressBytes, this.#length)
  }

  /** Checks the headers of an answer, and returns the function that receives its bytes. */
  #accept(answer: RangeAnswer, slot: ConnectionSlot): Sink {
    const { file, range, fromWhole } = this.#piece
    checkAnswer(answer, file)
    if (answer.kind === 'part') {
      if (answer.skip > mostSkipped) throw new RangesIgnored()
      return this.#sink(slot)
    }
    this.#discard()
    if (this.#length >= file.size) return this.#sink(slot)
    if (fromWhole === undefined || range.begin > mostSkipped) throw new RangesIgnored()
    return this.#sinkFromWhole(slot)
  }

  #sink(slot: ConnectionSlot): Sink {
    const { target, onBytes } = this.#piece
    return (bytes) => {
      target.set(bytes, this.#received)
      this.#received += bytes.length
      slot.count(bytes.length)
      onBytes(bytes.length)
    }
  }

  /** Takes the piece's bytes out of those of the whole file. */
  #sinkFromWhole(slot: ConnectionSlot): Sink {
    const sink = this.#sink(slot)
    let toSkip = this.#piece.range.begin
    return (bytes) => {
      const begin = Math.min(toSkip, bytes.length)
      toSkip -= begin
      const pending = sink(bytes.subarray(begin, begin + this.#length - this.#received))
      if (this.#received === this.#length) throw new PieceReceived()
      return pending
    }
  }

  #discard(): void {
    this.#piece.onBytes(-this.#received)
    this.#received = 0
  }
}

/** The statuses by which hosts say that a signed address is no longer valid. */
const expiredStatus: ReadonlySet<number> = new Set([400, 401, 403, 404, 410])

/** A request for a range of a file, or for the whole file. */
export interface FileRequest {
  readonly file: RemoteFile
  /** Undefined requests the whole file. */
  readonly range: ByteRange | undefined
  readonly signal: AbortSignal
  /** Called once the headers are checked. Returns the function that receives the bytes, or throws to refuse the answer. */
  readonly accept: (answer: RangeAnswer, slot: ConnectionSlot) => Sink
}

/** Sends one request to the file's current address, on a connection to that host. @throws as {@link fetchRange}; HubError `url-expired` */
export async function requestFile(transport: Transport, { file, range, signal, accept }: FileRequest): Promise<void> {
  const target = await file.location.requestTarget(signal)
  const { stallMs } = transport.settings
  let answeredAt: string | undefined
  let slot: ConnectionSlot | undefined
  try {
    const connection = await transport.connectionsTo(hostOf(target.url)).acquire(signal)
    slot = connection
    await fetchRange({
      transport,
      url: target.url,
      headers: target.headers,
      range,
      size: file.size,
      requested: file,
      stallMs,
      patienceMs: connection.mayQueue ? stallMs * queuePatience : undefined,
      signal,
      onAnswer: (url) => (answeredAt = url),
      accept: (answer) => {
        target.settle(answer.url)
        connection.answered()
        const sink = accept(answer, connection)
        return (bytes) => {
          if (range !== undefined) file.location.delivered()
          return sink(bytes)
        }
      },
    })
  } catch (error) {
    const wait = requestedWait(error)
    if (wait !== undefined && answeredAt !== undefined) {
      // The redirect is known now, even though the host it leads to is overloaded.
      if (answeredAt !== target.url) target.settle(answeredAt)
      transport.connectionsTo(hostOf(answeredAt)).backOff(wait)
    }
    if (target.redirected && isAquatintError(error)) {
      const { code, details } = error
      const expired = expiredStatus.has(Number(details['status']))
      // A page cannot read a 403 without CORS headers: it sees a failed connection instead.
      if (expired || (code === 'network' && answeredAt === undefined)) file.location.expire(target.url)
      if (expired) throw urlExpired(file, error)
    }
    throw error
  } finally {
    slot?.release()
    target.settle()
  }
}

function hostOf(url: string): string {
  return new URL(url).host
}

/** Compares an answer's validator with the file's. @throws HubError `file-changed` */
export function checkAnswer(answer: RangeAnswer, file: RemoteFile): void {
  // A hash is the stronger check, and servers of one host may send different validators for the same content.
  if (file.hash !== undefined || file.validator === undefined || answer.validator === undefined) return
  if (answer.validator !== file.validator) throw fileChanged(file)
}
