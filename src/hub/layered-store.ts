/**
 * The store that downloads use: the browser's, and memory for what the browser refuses to take. Nothing that a download needs fails
 * because storage does; what could not be kept is said. A file with a part in memory never counts as complete in the browser's store.
 */

import { StorageError } from '../errors.js'
import type { ChunkStore } from './chunk-store.js'
import { fileRecordKey } from './file-record.js'
import { MemoryStore } from './memory-store.js'

/** Tries to make room. False when nothing could be given up. */
export type Reclaim = () => Promise<boolean>

/** How long deleted bytes may still count, in milliseconds. */
const settleMs = 500

export class LayeredStore implements ChunkStore {
  readonly #kept: ChunkStore | undefined
  readonly #memory = new MemoryStore()
  /** Files with a part in memory. */
  readonly #inMemory = new Set<string>()
  readonly #onTrouble: (error: StorageError) => void
  #reclaimed = 0
  #reclaiming: Promise<boolean> = Promise.resolve(false)
  /** Set once by the Hub: eviction needs the store, and the store needs eviction. */
  reclaim: Reclaim = () => Promise.resolve(false)

  /** @param kept the browser's store, or undefined when it cannot be used */
  constructor(kept: ChunkStore | undefined, onTrouble: (error: StorageError) => void = () => {}) {
    this.#kept = kept
    this.#onTrouble = onTrouble
  }

  /** The browser's store alone. */
  get kept(): ChunkStore | undefined {
    return this.#kept
  }

  /** Whether a part of the file lives in memory only. */
  isInMemory(file: string): boolean {
    return this.#kept === undefined || this.#inMemory.has(file)
  }

  async chunks(file: string): Promise<Map<number, Blob>> {
    const found = new Map(await this.#tryKept((kept) => kept.chunks(file)))
    for (const [index, blob] of await this.#memory.chunks(file)) found.set(index, blob)
    return found
  }

  async chunkIndexes(file: string): Promise<number[]> {
    const kept = (await this.#tryKept((store) => store.chunkIndexes(file))) ?? []
    return [...new Set([...kept, ...(await this.#memory.chunkIndexes(file))])].sort((a, b) => a - b)
  }

  async chunk(file: string, index: number): Promise<Blob | undefined> {
    return (await this.#memory.chunk(file, index)) ?? (await this.#tryKept((kept) => kept.chunk(file, index)))
  }

  async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const stored = await this.#write((kept) => kept.putChunk(file, index, bytes))
    if (stored) return
    this.#inMemory.add(file)
    await this.#memory.putChunk(file, index, bytes)
  }

  async deleteChunks(file: string, indexes?: readonly number[]): Promise<void> {
    await this.#memory.deleteChunks(file, indexes)
    if ((await this.#memory.chunks(file)).size === 0) this.#inMemory.delete(file)
    await this.#tryKept((kept) => kept.deleteChunks(file, indexes))
  }

  /** Lets go of what is in memory of a file that nobody uses any more. What the browser's store has stays. */
  forget(file: string): void {
    if (!this.isInMemory(file)) return
    this.#inMemory.delete(file)
    // Done when these return: memory has nothing to wait for.
    void this.#memory.deleteChunks(file)
    void this.#memory.deleteRecord(fileRecordKey(file))
  }

  async chunkFiles(): Promise<string[]> {
    return [...new Set([...(await this.#memory.chunkFiles()), ...((await this.#tryKept((kept) => kept.chunkFiles())) ?? [])])]
  }

  async record(key: string): Promise<unknown> {
    return (await this.#memory.record(key)) ?? (await this.#tryKept((kept) => kept.record(key)))
  }

  async putRecord(key: string, value: unknown): Promise<void> {
    const stored = await this.#write((kept) => kept.putRecord(key, value))
    if (stored) await this.#memory.deleteRecord(key)
    else await this.#memory.putRecord(key, value)
  }

  /** Keeps a record for this worker only. */
  async putRecordInMemory(key: string, value: unknown): Promise<void> {
    await this.#memory.putRecord(key, value)
  }

  async updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    if ((await this.#memory.record(key)) !== undefined) return this.#memory.updateRecord(key, change)
    const stored = await this.#write((kept) => kept.updateRecord(key, change))
    if (!stored) await this.#memory.updateRecord(key, change)
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#memory.deleteRecord(key)
    await this.#tryKept((kept) => kept.deleteRecord(key))
  }

  async records(prefix: string): Promise<[string, unknown][]> {
    const found = new Map((await this.#tryKept((kept) => kept.records(prefix))) ?? [])
    for (const [key, value] of await this.#memory.records(prefix)) found.set(key, value)
    return [...found]
  }

  /** True when the browser's store took it. It is tried again as long as room can be made; whatever else fails goes to memory. */
  async #write(put: (kept: ChunkStore) => Promise<void>): Promise<boolean> {
    const kept = this.#kept
    if (kept === undefined) return false
    for (let waited = true; ;) {
      const seen = this.#reclaimed
      try {
        await put(kept)
        return true
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        // What was deleted makes room only when nothing holds it any more, which may take a moment.
        if (error.code === 'quota-exceeded' && !waited) {
          waited = true
          await new Promise((resolve) => setTimeout(resolve, settleMs))
          continue
        }
        if (error.code === 'quota-exceeded' && (await this.#makeRoom(seen))) {
          waited = false
          continue
        }
        this.#onTrouble(error)
        return false
      }
    }
  }

  /** Many writes fail at once: one after the other, and not again for those that failed before room was made. */
  #makeRoom(seen: number): Promise<boolean> {
    const next = this.#reclaiming.then(async () => {
      if (this.#reclaimed !== seen) return true
      const made = await this.reclaim()
      if (made) this.#reclaimed++
      return made
    })
    this.#reclaiming = next.catch(() => false)
    return next
  }

  async #tryKept<T>(run: (kept: ChunkStore) => Promise<T>): Promise<T | undefined> {
    if (this.#kept === undefined) return undefined
    try {
      return await run(this.#kept)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      this.#onTrouble(error)
      return undefined
    }
  }
}
