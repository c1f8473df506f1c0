/** A store in the worker's memory, for what the browser cannot store and for tests in Node. */

import type { ChunkStore } from './chunk-store.js'

/** Chunks and records in memory. Chromium moves large Blobs to temporary files of its own. */
export class MemoryStore implements ChunkStore {
  readonly #chunks = new Map<string, Map<number, Blob>>()
  readonly #records = new Map<string, unknown>()

  chunks(file: string): Promise<Map<number, Blob>> {
    return Promise.resolve(new Map(this.#chunks.get(file)))
  }

  chunkIndexes(file: string): Promise<number[]> {
    return Promise.resolve([...(this.#chunks.get(file)?.keys() ?? [])].sort((a, b) => a - b))
  }

  chunk(file: string, index: number): Promise<Blob | undefined> {
    return Promise.resolve(this.#chunks.get(file)?.get(index))
  }

  putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const chunks = this.#chunks.get(file) ?? new Map<number, Blob>()
    this.#chunks.set(file, chunks.set(index, new Blob([bytes])))
    return Promise.resolve()
  }

  deleteChunks(file: string, indexes?: readonly number[]): Promise<void> {
    const chunks = this.#chunks.get(file)
    if (indexes !== undefined) for (const index of indexes) chunks?.delete(index)
    if (indexes === undefined || chunks?.size === 0) this.#chunks.delete(file)
    return Promise.resolve()
  }

  chunkFiles(): Promise<string[]> {
    return Promise.resolve([...this.#chunks.keys()])
  }

  record(key: string): Promise<unknown> {
    return Promise.resolve(this.#records.get(key))
  }

  putRecord(key: string, value: unknown): Promise<void> {
    this.#records.set(key, structuredClone(value))
    return Promise.resolve()
  }

  updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    const changed = change(this.#records.get(key))
    if (changed !== undefined) this.#records.set(key, structuredClone(changed))
    return Promise.resolve()
  }

  deleteRecord(key: string): Promise<void> {
    this.#records.delete(key)
    return Promise.resolve()
  }

  records(prefix: string): Promise<[string, unknown][]> {
    return Promise.resolve([...this.#records].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}
