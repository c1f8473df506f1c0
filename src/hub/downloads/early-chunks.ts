/** Chunks that arrived before it was their turn to be hashed, kept in memory so that they need not be read back from the store. */

import { freeBytes } from '../../util/free-bytes.js'

/**
 * The most chunks that wait in memory. If there are more, the chunk with the highest index is released, and read back from the store later.
 */
const maxEarlyChunks = 2

interface EarlyChunk {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly onReleased: () => void
}

/** The chunks of one file that wait in memory, by index. */
export class EarlyChunks {
  readonly #chunks = new Map<number, EarlyChunk>()

  /** Keeps a chunk. `onReleased` is called once its bytes are freed. */
  add(index: number, bytes: Uint8Array<ArrayBuffer>, onReleased: () => void): void {
    this.#chunks.set(index, { bytes, onReleased })
  }

  bytes(index: number): Uint8Array<ArrayBuffer> | undefined {
    return this.#chunks.get(index)?.bytes
  }

  /** Frees the bytes of a chunk, if it waits here. */
  release(index: number): void {
    const chunk = this.#chunks.get(index)
    if (chunk === undefined) return
    this.#chunks.delete(index)
    freeBytes(chunk.bytes)
    chunk.onReleased()
  }

  /** If too many chunks wait, frees the one with the highest index. */
  releaseSurplus(): void {
    if (this.#chunks.size > maxEarlyChunks) this.release(Math.max(...this.#chunks.keys()))
  }

  releaseAll(): void {
    for (const index of this.#chunks.keys()) this.release(index)
  }
}
