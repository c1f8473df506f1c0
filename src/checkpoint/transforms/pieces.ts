/** Shared by the byte sources of transformed tensors: the size of a piece of work, and how the bytes of a read are copied from pieces. */

import type { ByteRange } from '../../hub/types.js'

/** Elements that are processed at a time. They take 4 MiB as float32, and at most 4 MiB each in the stored and in the converted type. */
export const pieceElements = 1 << 20

/** Copies the bytes that two ranges of one file have in common: `source` begins at `sourceBegin`, `target` at `targetBegin`. */
export function copyOverlap(target: Uint8Array, targetBegin: number, source: Uint8Array, sourceBegin: number): void {
  const begin = Math.max(targetBegin, sourceBegin)
  const end = Math.min(targetBegin + target.byteLength, sourceBegin + source.byteLength)
  if (begin < end) target.set(source.subarray(begin - sourceBegin, end - sourceBegin), begin - targetBegin)
}

/** @throws RangeError for a read beyond the tensor: the bytes there belong to the next one */
export function checkTensorRange(range: ByteRange, byteLength: number): void {
  if (range.begin < 0 || range.begin > range.end || range.end > byteLength)
    throw new RangeError(`Bytes ${range.begin} to ${range.end} are outside the source, which has ${byteLength} bytes.`)
}
