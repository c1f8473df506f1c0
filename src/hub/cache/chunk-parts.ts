/**
 * Parts of chunks. When a download is aborted, the ranges of a chunk that have arrived are joined into one Blob, which is stored under the chunk's
 * index; the file's record lists the ranges. This Blob is shorter than the chunk, so it never counts as the chunk.
 */

import { readBlob } from './cached-source.js'
import type { ByteRange } from '../types.js'

/** The ranges of one chunk that have arrived, as offsets in the file, in ascending order and without overlap. */
export interface ChunkPart {
  readonly index: number
  readonly ranges: readonly ByteRange[]
}

/** Bytes of all ranges together. */
export function partLength(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { begin, end }) => sum + end - begin, 0)
}

/** Concatenates these ranges of the file. The first byte of `bytes` is at `begin` in the file. */
export function joinRanges(bytes: Uint8Array, begin: number, ranges: readonly ByteRange[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(partLength(ranges))
  let at = 0
  for (const range of ranges) {
    joined.set(bytes.subarray(range.begin - begin, range.end - begin), at)
    at += range.end - range.begin
  }
  return joined
}

/** Copies joined ranges to their places in `target`, whose first byte is at `begin` in the file. False if the Blob cannot be read. */
export async function restoreRanges(
  joined: Blob,
  ranges: readonly ByteRange[],
  target: Uint8Array,
  begin: number,
): Promise<boolean> {
  const bytes = joined.size === partLength(ranges) ? await readBlob(joined, 0, joined.size) : undefined
  if (bytes === undefined) return false
  let at = 0
  for (const range of ranges) {
    const length = range.end - range.begin
    target.set(bytes.subarray(at, at + length), range.begin - begin)
    at += length
  }
  return true
}

/** The parts of `whole` that are not in `ranges`, in order. */
export function rangesBetween(whole: ByteRange, ranges: readonly ByteRange[]): ByteRange[] {
  const rest: ByteRange[] = []
  let at = whole.begin
  for (const { begin, end } of ranges) {
    if (begin > at) rest.push({ begin: at, end: begin })
    at = end
  }
  if (at < whole.end) rest.push({ begin: at, end: whole.end })
  return rest
}

/** Parts of a stored record that are well formed: inside their chunk, in ascending order and without overlap. Others are left out. */
export function asChunkParts(value: unknown, chunkOf: (index: number) => ByteRange | undefined): ChunkPart[] {
  if (!Array.isArray(value)) return []
  return value.filter((part: unknown): part is ChunkPart => {
    if (typeof part !== 'object' || part === null) return false
    const { index, ranges } = part as Partial<ChunkPart>
    const chunk = typeof index === 'number' ? chunkOf(index) : undefined
    if (chunk === undefined || !Array.isArray(ranges) || ranges.length === 0) return false
    let at = chunk.begin
    for (const { begin, end } of ranges as ByteRange[]) {
      if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < at || end <= begin) return false
      at = end
    }
    return at <= chunk.end
  })
}
