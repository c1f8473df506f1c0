/**
 * The store that downloads use: the browser's store, and memory for what the browser does not accept. No download fails because of the
 * storage; what could not be stored is reported. A file with a part in memory never counts as complete in the browser's store.
 */

import { StorageError } from '../../errors.js'
import type { ChunkStore } from './chunk-store.js'
import { fileRecordKey } from './file-record.js'
import { MemoryStore } from './memory-store.js'
import { QuotaWriter } from './quota.js'

/** Options: what a layered store does when the browser's store fails. */
export interface LayeredStoreOptions {
  /** Receives each error of the browser's store. */
  readonly onTrouble?: ((error: StorageError) => void) | undefined
  /**
   * Evicts one file from the given store. Returns the bytes freed, or undefined if there is none to evict. Default: nothing can be evicted.
   */
  readonly evict?: ((store: ChunkStore) => Promise<number | undefined>) | undefined
}

/** The browser's store, and memory for what it cannot store. Writes never fail. */
export class LayeredStore implements ChunkStore {
  /** The browser's store. */
  readonly #persistent: ChunkStore | undefined
  readonly #memory = new MemoryStore()
  /** Files with a part in memory. */
  readonly #inMemory = new Set<string>()
  /** Files whose record could not be read, and the keys of their records. For these, the browser's store is neither read nor changed. */
  readonly #isolated = new Set<string>()
  readonly #onTrouble: (error: StorageError) => void
  readonly #quota: QuotaWriter

  /** @param persistent the browser's store, or undefined when it cannot be used */
  constructor(persistent: ChunkStore | undefined, { onTrouble, evict }: LayeredStoreOptions = {}) {
    this.#persistent = persistent
    this.#onTrouble = onTrouble ?? (() => {})
    this.#quota = new QuotaWriter(() => evict?.(this) ?? Promise.resolve(undefined))
  }

  /** Whether a part of the file is in memory only. */
  isInMemory(file: string): boolean {
    return this.#persistent === undefined || this.#inMemory.has(file) || this.#isolated.has(file)
  }

  /** Every stored chunk. If the browser's store cannot be read, its chunks are missing and are downloaded again. */
  async chunks(file: string): Promise<Map<number, Blob>> {
    const found = new Map(await this.#read(file, (store) => store.chunks(file)))
    for (const [index, blob] of await this.#memory.chunks(file)) found.set(index, blob)
    return found
  }

  /** @throws StorageError */
  async chunkIndexes(file: string): Promise<number[]> {
    const persistent = (await this.#persistentFor(file)?.chunkIndexes(file)) ?? []
    return [...new Set([...persistent, ...(await this.#memory.chunkIndexes(file))])].sort((a, b) => a - b)
  }

  /** The chunk; undefined if it is absent or cannot be read. */
  async chunk(file: string, index: number): Promise<Blob | undefined> {
    return (await this.#memory.chunk(file, index)) ?? (await this.#read(file, (store) => store.chunk(file, index)))
  }

  async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (await this.#write(file, bytes.length, (store) => store.putChunk(file, index, bytes))) return
    this.#inMemory.add(file)
    await this.#memory.putChunk(file, index, bytes)
  }

  async deleteChunks(file: string, indexes?: readonly number[]): Promise<void> {
    await this.#memory.deleteChunks(file, indexes)
    if ((await this.#memory.chunks(file)).size === 0) this.#inMemory.delete(file)
    await this.#read(file, (store) => store.deleteChunks(file, indexes))
  }

  /** Until {@link releaseMemory}, keeps a file in memory alone: the browser's store is neither read nor changed for it. */
  isolate(file: string): void {
    this.#isolated.add(file).add(fileRecordKey(file))
  }

  /** Frees the memory of a file that nothing uses any more. The browser's store is not changed. */
  releaseMemory(file: string): void {
    if (!this.isInMemory(file)) return
    this.#inMemory.delete(file)
    this.#isolated.delete(file)
    this.#isolated.delete(fileRecordKey(file))
    // The memory store deletes before it returns its promise, so nothing has to wait for the promise.
    void this.#memory.deleteChunks(file)
    void this.#memory.deleteRecord(fileRecordKey(file))
  }

  /** @throws StorageError */
  async chunkFiles(): Promise<string[]> {
    return [...new Set([...(await this.#memory.chunkFiles()), ...((await this.#persistent?.chunkFiles()) ?? [])])]
  }

  /** The record; undefined if it is absent or cannot be read. For callers that do not depend on the difference. */
  async record(key: string): Promise<unknown> {
    return (await this.#memory.record(key)) ?? (await this.#read(key, (store) => store.record(key)))
  }

  /**
   * The record, for callers that delete chunks if a file has no record.
   * @throws StorageError when the record cannot be read
   */
  async recordOrThrow(key: string): Promise<unknown> {
    return (await this.#memory.record(key)) ?? (await this.#persistentFor(key)?.record(key))
  }

  async putRecord(key: string, value: unknown): Promise<void> {
    const isStored = await this.#write(key, 0, (store) => store.putRecord(key, value))
    if (isStored) await this.#memory.deleteRecord(key)
    else await this.#memory.putRecord(key, value)
  }

  /** Keeps a record in memory only. */
  async putRecordInMemory(key: string, value: unknown): Promise<void> {
    await this.#memory.putRecord(key, value)
  }

  /**
   * Changes a record. If the write of an existing record fails, nothing is evicted and the change is dropped: recording when a file was
   * used is no reason to evict another file, and a changed copy in memory would hide what other tabs write. A new record is written as
   * {@link putRecord} does.
   */
  async updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    if ((await this.#memory.record(key)) !== undefined) return this.#memory.updateRecord(key, change)
    const isNew = (await this.record(key)) === undefined
    const isStored = await this.#write(key, isNew ? 0 : undefined, (store) => store.updateRecord(key, change))
    if (!isStored && isNew) await this.#memory.updateRecord(key, change)
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#memory.deleteRecord(key)
    await this.#read(key, (store) => store.deleteRecord(key))
  }

  /**
   * Every record whose key starts with `prefix`.
   * @throws StorageError when the records cannot be read, because callers delete the chunks of files that have no record
   */
  async records(prefix: string): Promise<[string, unknown][]> {
    const found = new Map(await this.#persistent?.records(prefix))
    for (const [key, value] of await this.#memory.records(prefix)) found.set(key, value)
    return [...found]
  }

  /**
   * Writes to the browser's store; false when that failed and the value has to go to memory.
   * @param name the file or the record's key
   * @param bytes how many bytes to free if the quota is used up; undefined evicts nothing
   */
  async #write(name: string, bytes: number | undefined, put: (store: ChunkStore) => Promise<void>): Promise<boolean> {
    const store = this.#persistentFor(name)
    if (store === undefined) return false
    try {
      if (bytes === undefined) await put(store)
      // Once a part of a file is in memory, the file cannot become complete in the browser's store: evict nothing for its other chunks.
      else await this.#quota.write({ put: () => put(store), bytes, isMoot: () => this.#inMemory.has(name) })
      return true
    } catch (error) {
      this.#reportTrouble(error)
      return false
    }
  }

  /** Reads from or deletes in the browser's store; undefined when that fails or the store must not be touched. */
  async #read<T>(name: string, run: (store: ChunkStore) => Promise<T>): Promise<T | undefined> {
    const store = this.#persistentFor(name)
    if (store === undefined) return undefined
    try {
      return await run(store)
    } catch (error) {
      this.#reportTrouble(error)
      return undefined
    }
  }

  /** The browser's store, unless it must not be touched for this file or record. */
  #persistentFor(name: string): ChunkStore | undefined {
    return this.#isolated.has(name) ? undefined : this.#persistent
  }

  /** @throws any error that is not a StorageError */
  #reportTrouble(error: unknown): void {
    if (!(error instanceof StorageError)) throw error
    this.#onTrouble(error)
  }
}
