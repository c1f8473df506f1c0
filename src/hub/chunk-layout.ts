/** Where a file's chunks begin and end, and which bytes of which chunk a read needs. Pure arithmetic without any bytes. */

import type { ByteRange } from './types.js'

/** Number of chunks of a file of `size` bytes; 0 for an empty file. */
export function chunkCount(size: number, chunkBytes: number): number {
  return Math.ceil(size / chunkBytes)
}

/** The bytes of the file in chunk `index`. The last chunk may be shorter. */
export function chunkRange(index: number, size: number, chunkBytes: number): ByteRange {
  return { begin: index * chunkBytes, end: Math.min(size, (index + 1) * chunkBytes) }
}

/** Indexes of the chunks that hold any of these ranges. */
export function chunksOf(ranges: readonly ByteRange[], chunkBytes: number): Set<number> {
  return new Set(ranges.flatMap((range) => planRead(range, chunkBytes).map(({ index }) => index)))
}

/** Bytes of the chunks with these indexes, of a file of `size` bytes. */
export function chunkSum(indexes: Iterable<number>, size: number, chunkBytes: number): number {
  let sum = 0
  for (const index of indexes) {
    const { begin, end } = chunkRange(index, size, chunkBytes)
    sum += Math.max(0, end - begin)
  }
  return sum
}

/** Cuts a range into pieces of at most `pieceBytes` bytes. */
export function splitRange({ begin, end }: ByteRange, pieceBytes: number): ByteRange[] {
  const pieces: ByteRange[] = []
  for (let at = begin; at < end; at += pieceBytes) pieces.push({ begin: at, end: Math.min(end, at + pieceBytes) })
  return pieces
}

/** A part of one chunk. `begin` and `end` count from the chunk's first byte. */
export interface ChunkSlice extends ByteRange {
  readonly index: number
}

/** The slices of chunks that make up `range`, in order. */
export function planRead({ begin, end }: ByteRange, chunkBytes: number): ChunkSlice[] {
  const slices: ChunkSlice[] = []
  for (let at = begin; at < end;) {
    const index = Math.floor(at / chunkBytes)
    const stop = Math.min(end, (index + 1) * chunkBytes)
    slices.push({ index, begin: at - index * chunkBytes, end: stop - index * chunkBytes })
    at = stop
  }
  return slices
}

/** A parsed `Content-Range`, half-open. `total` is absent for `*`; `range` is absent for a 416 answer, which has `*` in its place. */
export interface ContentRange {
  readonly range?: ByteRange
  readonly total?: number
}

/** Parses a `Content-Range` header (RFC 9110, 14.4), also in the nonstandard forms that some servers send. Undefined if the header is malformed. */
export function parseContentRange(header: string): ContentRange | undefined {
  const match = /^bytes[ =:]\s*(?:(\d{1,16})\s*-\s*(\d{1,16})|\*)\s*\/\s*(\d{1,16}|\*)$/i.exec(header.trim())
  if (match === null) return undefined
  const stated = match[3] === '*' ? undefined : Number(match[3])
  const range = match[1] === undefined ? undefined : { begin: Number(match[1]), end: Number(match[2]) + 1 }
  // A file is not shorter than a part of it, whatever the header says. Some servers write 0 for a length that they do not know.
  const total = stated === undefined || (range !== undefined && stated < range.end) ? {} : { total: stated }
  return range === undefined ? total : { range, ...total }
}
