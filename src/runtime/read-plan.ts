/**
 * Which bytes of which files to read for a set of tensors: neighbours in a file share one read, large tensors take several, and no read is
 * longer than {@link pieceBytes}. Pure: weight-stream.ts does the reading.
 */

import type { TensorEntry } from '../checkpoint/types.js'
import type { ByteSource } from '../hub/types.js'
import { storedElementBytes } from '../checkpoint/element-types.js'

/** Bytes of the largest read: a size that `queue.writeBuffer` handles well. */
export const pieceBytes = 8 * 2 ** 20

/** A gap of up to this many bytes between two tensors is read with them rather than skipped. */
const gapBytes = 64 * 2 ** 10

/** Elements `[first, first + count)` of a tensor, found at `offset` in the bytes of a read. */
export interface ReadPart {
  readonly entry: TensorEntry
  readonly offset: number
  readonly first: number
  readonly count: number
}

/** One read of one file. */
export interface PlannedRead {
  readonly source: ByteSource
  readonly begin: number
  readonly end: number
  readonly parts: readonly ReadPart[]
}

interface OpenRead {
  source: ByteSource
  begin: number
  end: number
  parts: ReadPart[]
}

/** Cuts a tensor into pieces of whole elements; every piece but the last holds a multiple of 16 elements. */
function* piecesOf(entry: TensorEntry): Generator<{ first: number; count: number; begin: number; end: number }> {
  const size = storedElementBytes(entry)
  const total = (entry.end - entry.begin) / size
  const most = Math.floor(pieceBytes / size / 16) * 16
  for (let first = 0; first < total; first += most) {
    const count = Math.min(most, total - first)
    const begin = entry.begin + first * size
    yield { first, count, begin, end: begin + count * size }
  }
}

/** The reads for `entries`, file by file, ascending. Tensors without elements need none. */
export function planReads(entries: Iterable<TensorEntry>): PlannedRead[] {
  const bySource = new Map<ByteSource, TensorEntry[]>()
  for (const entry of entries) {
    const known = bySource.get(entry.source)
    if (known === undefined) bySource.set(entry.source, [entry])
    else known.push(entry)
  }
  const reads: OpenRead[] = []
  for (const [source, found] of bySource) {
    let open: OpenRead | undefined
    for (const entry of found.toSorted((a, b) => a.begin - b.begin)) {
      for (const piece of piecesOf(entry)) {
        if (open === undefined || piece.begin - open.end > gapBytes || piece.end - open.begin > pieceBytes) {
          open = { source, begin: piece.begin, end: piece.end, parts: [] }
          reads.push(open)
        }
        open.parts.push({ entry, offset: piece.begin - open.begin, first: piece.first, count: piece.count })
        open.end = Math.max(open.end, piece.end)
      }
    }
  }
  return reads
}
