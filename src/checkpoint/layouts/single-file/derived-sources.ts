/** Byte sources that are computed from another source when they are read: ranges joined in another order, and a transposed matrix. */

import type { ByteRange, ByteSource, ReadOptions } from '../../../hub/types.js'

/** Bytes that are in memory. */
export function constantSource(bytes: Uint8Array<ArrayBuffer>): ByteSource {
  return { byteLength: bytes.byteLength, read: ({ begin, end }) => Promise.resolve(bytes.slice(begin, end)) }
}

/** A range of a source. */
export interface SourceRange extends ByteRange {
  readonly source: ByteSource
}

/** Ranges of sources, one after the other, as one source. */
export function joined(ranges: readonly SourceRange[]): ByteSource {
  const needed = (range: ByteRange) => {
    const found: SourceRange[] = []
    let at = 0
    for (const { source, begin, end } of ranges) {
      const [from, to] = [Math.max(range.begin - at, 0), Math.min(range.end - at, end - begin)]
      if (from < to) found.push({ source, begin: begin + from, end: begin + to })
      at += end - begin
    }
    return found
  }
  const [first] = ranges
  return {
    byteLength: ranges.reduce((sum, { begin, end }) => sum + end - begin, 0),
    contentKey: ranges.every(({ source }) => source === first?.source) ? first?.source.contentKey : undefined,
    read: async (range, options) => {
      const result = new Uint8Array(range.end - range.begin)
      let at = 0
      for (const { source, begin, end } of needed(range)) {
        result.set(await source.read({ begin, end }, options), at)
        at += end - begin
      }
      return result
    },
    ...(ranges.some(({ source }) => source.arrived !== undefined) ? { arrived: arrivalOf(needed) } : {}),
  }
}

/** The size of a matrix, and the bytes of one of its elements. */
export interface MatrixSize {
  readonly rows: number
  readonly columns: number
  readonly bytes: number
}

/** A matrix of a source, transposed. A read has the whole matrix in memory; the only such matrices are text projections of at most 6 MB. */
export function transposed(source: ByteSource, place: ByteRange, { rows, columns, bytes }: MatrixSize): ByteSource {
  return {
    byteLength: place.end - place.begin,
    contentKey: source.contentKey,
    read: async ({ begin, end }, options) => {
      const matrix = await source.read(place, options)
      const turned = new Uint8Array(matrix.byteLength)
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const [from, to] = [(row * columns + column) * bytes, (column * rows + row) * bytes]
          for (let i = 0; i < bytes; i++) turned[to + i] = matrix[from + i] ?? 0
        }
      }
      return turned.slice(begin, end)
    },
    ...(source.arrived === undefined ? {} : { arrived: arrivalOf(() => [{ source, ...place }]) }),
  }
}

/** The method `arrived` of a derived source. */
function arrivalOf(needed: (range: ByteRange) => readonly SourceRange[]): NonNullable<ByteSource['arrived']> {
  return async (range: ByteRange, options?: ReadOptions) => {
    for (const { source, begin, end } of needed(range)) await source.arrived?.({ begin, end }, options)
  }
}
