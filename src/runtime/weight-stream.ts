/**
 * Streams the tensors of a checkpoint in the types that a graph takes, piece by piece: the next pieces are read while one is converted and
 * passed to the caller, who puts it into a GPU buffer or an array.
 */

import type { TensorEntry } from '../checkpoint/types.js'
import type { ElementType } from '../onnx/types.js'
import { throwIfAborted } from '../util/abort.js'
import { freeBytes } from '../util/free-bytes.js'
import { convertElements, elementBytes, storedElementBytes } from '../checkpoint/element-types.js'
import { planReads } from './read-plan.js'

/** A tensor, and the type that it is converted to. */
export interface WantedTensor {
  readonly entry: TensorEntry
  readonly type: ElementType
}

/**
 * Some elements of one tensor, as bytes of the type that it is converted to. They belong at `byteOffset` of the whole tensor, and are valid
 * until the promise of `take` resolves.
 */
export interface WeightPiece<Wanted extends WantedTensor> {
  readonly wanted: Wanted
  readonly byteOffset: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** How many reads may be pending while the pieces of an earlier read are converted and passed to the caller. */
const readsInFlight = 3

/**
 * Calls `take` with every piece of every tensor, once, and waits for it. A tensor that is needed in two types is read once and passed twice.
 * @throws what a source or `take` throws, AbortError
 */
export async function streamWeights<Wanted extends WantedTensor>(
  wanted: readonly Wanted[],
  take: (piece: WeightPiece<Wanted>) => void | Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const byEntry = new Map<TensorEntry, Wanted[]>()
  for (const one of wanted) byEntry.set(one.entry, [...(byEntry.get(one.entry) ?? []), one])
  const reads = planReads(byEntry.keys())
  // Aborts the reads that are still pending when this function ends by an error. They are not awaited.
  const stop = new AbortController()
  const end = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])
  const pending: Promise<Uint8Array<ArrayBuffer>>[] = []
  let next = 0
  const readAhead = () => {
    while (pending.length < readsInFlight && next < reads.length) {
      const read = reads[next++]
      if (read === undefined) return
      const bytes = read.source.read({ begin: read.begin, end: read.end }, { signal: end })
      bytes.catch(() => {})
      pending.push(bytes)
    }
  }
  try {
    for (const read of reads) {
      readAhead()
      const bytes = await pending.shift()
      throwIfAborted(signal)
      if (bytes === undefined) return
      readAhead()
      for (const { entry, offset, first, count } of read.parts) {
        const stored = bytes.subarray(offset, offset + count * storedElementBytes(entry))
        for (const one of byEntry.get(entry) ?? []) {
          const converted = convertElements(stored, entry.dtype, one.type)
          await take({ wanted: one, byteOffset: first * elementBytes[one.type], bytes: converted })
          throwIfAborted(signal)
          if (converted !== stored) freeBytes(converted)
        }
      }
      freeBytes(bytes)
    }
  } finally {
    stop.abort()
  }
}
