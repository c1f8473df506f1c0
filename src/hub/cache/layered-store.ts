/**
 * The store that downloads use: the browser's, and memory for what the browser refuses to take. Nothing that a download needs fails
 * because storage does; what could not be kept is said. A file with a part in memory never counts as complete in the browser's store.
 */

import { StorageError } from '../../errors.js'
import { hurryCollector } from '../../util/free-bytes.js'
import type { ChunkStore } from './chunk-store.js'
import { fileRecordKey } from './file-record.js'
import { MemoryStore } from './memory-store.js'

/** Tries to make room. Gives the bytes that became free, as far as that is known; undefined when nothing could be given up. */
export type Reclaim = () => Promise<number | undefined>

/** Waits until deleted bytes no longer count, in milliseconds, and how many of them there are where enough was deleted. */
const settleMs = 500
const settleTimes = 10

/** What the browser may count for a stored value besides its bytes. */
const overheadBytes = 1 << 20

export class LayeredStore implements ChunkStore {
  readonly #kept: ChunkStore | undefined
  readonly #memory = new MemoryStore()
  /** Files with a part in memory. */
  readonly #inMemory = new Set<string>()
  /** Files whose record could not be read, and the keys of those records: what the browser's store has of them is left alone. */
  readonly #isolated = new Set<string>()
  readonly #onTrouble: (error: StorageError) => void
  #reclaims = 0
  #reclaiming: Promise<boolean> = Promise.resolve(false)
  /** Bytes that were given up, less those that were written since. */
  #spare = 0
  /** Set once by the Hub: eviction needs the store, and the store needs eviction. */
  reclaim: Reclaim = () => Promise.resolve(undefined)

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
    return this.#kept === undefined || this.#inMemory.has(file) || this.#isolated.has(file)
  }

  /** Empty also where the browser's store cannot be read: what it has is then brought here anew. */
  async chunks(file: string): Promise<Map<number, Blob>> {
    const found = new Map(await this.#tryKept(file, (kept) => kept.chunks(file)))
    for (const [index, blob] of await this.#memory.chunks(file)) found.set(index, blob)
    return found
  }

  /** @throws StorageError */
  async chunkIndexes(file: string): Promise<number[]> {
    const kept = (await this.#keptFor(file)?.chunkIndexes(file)) ?? []
    return [...new Set([...kept, ...(await this.#memory.chunkIndexes(file))])].sort((a, b) => a - b)
  }

  /** Undefined also where it cannot be read. */
  async chunk(file: string, index: number): Promise<Blob | undefined> {
    return (await this.#memory.chunk(file, index)) ?? (await this.#tryKept(file, (kept) => kept.chunk(file, index)))
  }

  async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (await this.#write(file, (kept) => kept.putChunk(file, index, bytes), bytes.length)) return
    this.#inMemory.add(file)
    await this.#memory.putChunk(file, index, bytes)
  }

  async deleteChunks(file: string, indexes?: readonly number[]): Promise<void> {
    await this.#memory.deleteChunks(file, indexes)
    if ((await this.#memory.chunks(file)).size === 0) this.#inMemory.delete(file)
    await this.#tryKept(file, (kept) => kept.deleteChunks(file, indexes))
  }

  /** Has a file in memory only until it is forgotten, as if the browser's store had nothing of it, and leaves there what there is. */
  isolate(file: string): void {
    this.#isolated.add(file).add(fileRecordKey(file))
  }

  /** Lets go of what is in memory of a file that nobody uses any more. What the browser's store has stays. */
  forget(file: string): void {
    if (!this.isInMemory(file)) return
    this.#inMemory.delete(file)
    this.#isolated.delete(file)
    this.#isolated.delete(fileRecordKey(file))
    // Done when these return: memory has nothing to wait for.
    void this.#memory.deleteChunks(file)
    void this.#memory.deleteRecord(fileRecordKey(file))
  }

  /** @throws StorageError */
  async chunkFiles(): Promise<string[]> {
    return [...new Set([...(await this.#memory.chunkFiles()), ...((await this.#kept?.chunkFiles()) ?? [])])]
  }

  /** Undefined also where it cannot be read: for whoever can do without it. */
  async record(key: string): Promise<unknown> {
    return (await this.#memory.record(key)) ?? (await this.#tryKept(key, (kept) => kept.record(key)))
  }

  /** The same for whoever deletes what has no record. @throws StorageError where it cannot be read */
  async recordOrThrow(key: string): Promise<unknown> {
    return (await this.#memory.record(key)) ?? (await this.#keptFor(key)?.record(key))
  }

  async putRecord(key: string, value: unknown): Promise<void> {
    const stored = await this.#write(key, (kept) => kept.putRecord(key, value), 0)
    if (stored) await this.#memory.deleteRecord(key)
    else await this.#memory.putRecord(key, value)
  }

  /** Keeps a record for this worker only. */
  async putRecordInMemory(key: string, value: unknown): Promise<void> {
    await this.#memory.putRecord(key, value)
  }

  /**
   * A change for which there is no room is not made: nothing is given up for the time at which a file was used, and a changed copy in
   * memory would hide what other tabs write. A record that is new is written as {@link putRecord} does.
   */
  async updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    if ((await this.#memory.record(key)) !== undefined) return this.#memory.updateRecord(key, change)
    const isNew = (await this.record(key)) === undefined
    const stored = await this.#write(key, (kept) => kept.updateRecord(key, change), isNew ? 0 : undefined)
    if (!stored && isNew) await this.#memory.updateRecord(key, change)
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#memory.deleteRecord(key)
    await this.#tryKept(key, (kept) => kept.deleteRecord(key))
  }

  /** @throws StorageError where they cannot be read: none must not be taken for a reason to delete */
  async records(prefix: string): Promise<[string, unknown][]> {
    const found = new Map(await this.#kept?.records(prefix))
    for (const [key, value] of await this.#memory.records(prefix)) found.set(key, value)
    return [...found]
  }

  /**
   * True when the browser's store took it; whatever fails goes to memory. With `need`, the bytes it takes, it is tried again as long as room
   * can be made, but not once more was given up than it needs: then something still holds what was deleted, and more would not help.
   */
  async #write(name: string, put: (kept: ChunkStore) => Promise<void>, need: number | undefined): Promise<boolean> {
    const kept = this.#keptFor(name)
    if (kept === undefined) return false
    let made = false
    for (let waits = 0; ;) {
      const seen = this.#reclaims
      try {
        await put(kept)
        this.#spare = Math.max(0, this.#spare - (need ?? 0))
        return true
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        // A file that did not fit is in memory from then on: what others would give up for the rest of it is lost for nothing.
        if (error.code === 'quota-exceeded' && need !== undefined && !this.#inMemory.has(name)) {
          const isEnough = this.#spare >= need + overheadBytes
          // What was deleted makes room only when nothing holds it any more.
          const most = isEnough ? settleTimes : made ? 1 : 0
          if (waits < most) {
            waits++
            hurryCollector()
            await new Promise((resolve) => setTimeout(resolve, settleMs))
            continue
          }
          if (!isEnough && waits < settleTimes && (await this.#makeRoom(seen))) {
            made = true
            waits = 0
            continue
          }
          // Others have taken the room, or hold what was deleted.
          if (isEnough) this.#spare = 0
        }
        this.#onTrouble(error)
        return false
      }
    }
  }

  /** Many writes fail at once: one after the other, and not again for those that failed before room was made. */
  #makeRoom(seen: number): Promise<boolean> {
    const next = this.#reclaiming.then(async () => {
      if (this.#reclaims !== seen) return true
      const freed = await this.#reclaimOnce()
      if (freed === undefined) return false
      this.#reclaims++
      this.#spare += freed
      return true
    })
    this.#reclaiming = next.catch(() => false)
    return next
  }

  async #reclaimOnce(): Promise<number | undefined> {
    try {
      return await this.reclaim()
    } catch (error) {
      if (error instanceof StorageError) return undefined
      throw error
    }
  }

  /** The browser's store, as far as it may be touched for this file or record. */
  #keptFor(name: string): ChunkStore | undefined {
    return this.#isolated.has(name) ? undefined : this.#kept
  }

  async #tryKept<T>(name: string, run: (kept: ChunkStore) => Promise<T>): Promise<T | undefined> {
    const kept = this.#keptFor(name)
    if (kept === undefined) return undefined
    try {
      return await run(kept)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      this.#onTrouble(error)
      return undefined
    }
  }
}
