/**
 * The hub of one worker: the cache, and all that downloads share (requests per host, memory, locks). Repositories are opened through it;
 * see open-repository.ts.
 */

import { StorageError } from '../errors.js'
import { abortError } from '../util/abort.js'
import { allChunks, CachedSource, readBlob } from './cache/cached-source.js'
import { CacheManager } from './cache/cache-manager.js'
import type { ChunkSlice } from './chunk-layout.js'
import type { ChunkStore } from './cache/chunk-store.js'
import { completeFile, fromServer, type Fill } from './downloads/download-file.js'
import type { DownloadingFile } from './downloads/downloading-file.js'
import { announce, listen } from './downloads/download-channel.js'
import { asFileRecord, fileRecordKey, type FileRecord } from './cache/file-record.js'
import { createLocks, downloadLock, useLock, type Locks } from './cache/file-locks.js'
import { HashThread } from './downloads/hash-thread.js'
import { fileChanged } from './http/http-errors.js'
import { ConnectionPool } from './http/connections.js'
import { LayeredStore } from './cache/layered-store.js'
import { DownloadMemory } from './downloads/download-memory.js'
import { ProgressMeter } from './downloads/progress-meter.js'
import type { Fetch } from './http/range-fetch.js'
import { HeaderOnlyFile } from './downloads/header-only-file.js'
import { isAddressKey, type RemoteFile, type StoredFile } from './remote-file.js'
import { defaultSettings, type TransferSettings } from './settings.js'
import { openShardCache } from './cache/shard-cache.js'
import type { ByteSource, OpenOptions, HeaderOnlySource, ReadOptions } from './types.js'
import { checkMaxBytes } from './names.js'
import type { Downloading } from './downloads/download-context.js'

export interface HubOptions {
  readonly settings?: Partial<TransferSettings> | undefined
  /** Where chunks are kept; null keeps them in memory only. Default: IndexedDB, or memory where it cannot be used. */
  readonly store?: ChunkStore | null | undefined
  /** Called when storage refuses: what is downloaded from then on may be in memory only. */
  readonly onStorageTrouble?: ((error: StorageError) => void) | undefined
}

/** How often a file is completed that is gone again as soon as it is there: users may clear storage at any time. */
const maxCompletions = 3

/** A file in use, and the end of its use. */
export interface OpenedFile {
  readonly source: ByteSource
  /** Lets the cache evict the file again. */
  readonly release: () => void
}

export class Hub implements Downloading {
  readonly settings: TransferSettings
  readonly store: LayeredStore
  readonly budget: DownloadMemory
  readonly copies: DownloadMemory
  readonly locks: Locks
  readonly cache: CacheManager
  readonly createHasher = new HashThread().create
  readonly #pools = new Map<string, ConnectionPool>()
  /** Files in use in this worker: how often, and what reads them. */
  readonly #uses = new Map<string, { count: number; readonly sources: Set<CachedSource> }>()

  private constructor(store: LayeredStore, settings: TransferSettings, locks: Locks) {
    this.locks = locks
    this.settings = settings
    this.store = store
    this.budget = new DownloadMemory(settings.memoryBytes)
    this.copies = new DownloadMemory(settings.copyBytes)
    this.cache = new CacheManager(store, locks)
    store.reclaim = () => this.cache.evictOldest()
  }

  /** Opens the cache. Where it cannot be opened, everything is kept in memory, and `onStorageTrouble` is told. */
  static async open(options: HubOptions = {}): Promise<Hub> {
    const settings = { ...defaultSettings, ...options.settings }
    const onTrouble = options.onStorageTrouble ?? (() => {})
    let kept = options.store ?? undefined
    if (options.store === undefined) {
      try {
        kept = await openShardCache(settings)
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        onTrouble(error)
      }
    }
    return new Hub(new LayeredStore(kept, onTrouble), settings, await createLocks())
  }

  readonly fetch: Fetch = (url, init) => globalThis.fetch(url, init)

  now(): number {
    return Date.now()
  }

  random(): number {
    return Math.random()
  }

  connectionsTo(host: string): ConnectionPool {
    const pool = this.#pools.get(host) ?? new ConnectionPool(this.settings, () => performance.now())
    this.#pools.set(host, pool)
    return pool
  }

  /** A file of a server, present and checked: from the cache, or downloaded, or awaited while another tab downloads it. */
  openRemote(file: RemoteFile, options: OpenOptions): Promise<OpenedFile> {
    return this.openFile(file, fromServer(this, file), options)
  }

  /** A file to look into: from the cache, or fetched as it is read and not kept. */
  async openHeaderOnly(file: RemoteFile): Promise<HeaderOnlySource> {
    const cached = await this.#cached(file, fromServer(this, file))
    return cached === undefined ? new HeaderOnlyFile(this, file) : Object.assign(cached, { isCached: true })
  }

  /** A file, present and checked: from the cache, or filled by `fill` where no other tab is doing that. */
  async openFile(file: StoredFile, fill: Fill, options: OpenOptions): Promise<OpenedFile> {
    const signal = options.signal ?? new AbortController().signal
    if (signal.aborted) throw abortError(signal)
    checkMaxBytes(file.path, file.size, options.maxBytes)
    const meter = new ProgressMeter(file.path, file.size, options.onProgress)
    const release = await this.#use(file.key)
    try {
      let source = await this.#cached(file, fill)
      if (source === undefined) source = await this.#complete(file, fill, meter, signal, options.onDownloading)
      else meter.complete(file.size)
      await this.store.updateRecord(fileRecordKey(file.key), (old) => {
        const record = asFileRecord(old)
        return record === undefined ? undefined : { ...record, lastUsed: this.now() }
      })
      this.#uses.get(file.key)?.sources.add(source)
      return { source, release }
    } catch (error) {
      release()
      // Whatever the wait was that the signal ended: a lock's, a lane's or a request's.
      throw signal.aborted ? abortError(signal) : error
    }
  }

  /**
   * Holds a file. The last release lets other tabs evict it: it gives back what only this worker's memory has of it, and lets go of the
   * stored Blobs, which keep their room on the disk for as long as they are held.
   */
  async #use(key: string): Promise<() => void> {
    const unlock = await this.locks.share(useLock(key))
    const use = this.#uses.get(key) ?? { count: 0, sources: new Set() }
    this.#uses.set(key, use)
    use.count++
    let held = true
    return () => {
      if (!held) return
      held = false
      if (--use.count === 0) {
        this.#uses.delete(key)
        // What is in memory can be read from these Blobs only.
        if (!this.store.isInMemory(key)) for (const source of use.sources) source.releaseBlobs()
        this.store.forget(key)
      }
      unlock()
    }
  }

  async #complete(
    file: StoredFile,
    fill: Fill,
    meter: ProgressMeter,
    signal: AbortSignal,
    onDownloading: OpenOptions['onDownloading'],
  ): Promise<CachedSource> {
    let arriving: DownloadingFile | undefined
    const early = (file: DownloadingFile) => {
      arriving = file
      onDownloading?.(file)
    }
    meter.queued()
    // Until it is our turn, another tab downloads this very file.
    const stop = listen(file.key, (progress) => meter.mirror(progress.loaded, progress.phase))
    try {
      return await this.locks.exclusively(downloadLock(file.key), signal, async () => {
        stop()
        const done = await this.#cached(file, fill)
        if (done !== undefined) {
          meter.complete()
          return done
        }
        const told = announce(file.key)
        try {
          meter.also(told.post)
          let source: CachedSource | undefined
          for (let times = 0; source === undefined; times++) {
            if (times === maxCompletions)
              throw new StorageError('storage-unreadable', `${file.path} was stored, but is not there`, { path: file.path })
            // Chunks that were cleared after they had been hashed are fetched again: the hash of the whole file knows nothing of that.
            await completeFile(this, file, fill, meter, signal, arriving === undefined ? early : undefined)
            source = await this.#cached(file, fill)
          }
          meter.complete()
          arriving?.complete(source)
          return source
        } catch (error) {
          arriving?.fail(signal.aborted ? abortError(signal) : error)
          throw error
        } finally {
          told.close()
        }
      })
    } finally {
      stop()
    }
  }

  async #record(key: string): Promise<FileRecord | undefined> {
    return asFileRecord(await this.store.record(fileRecordKey(key)))
  }

  async #cached(file: StoredFile, fill: Fill): Promise<CachedSource | undefined> {
    const record = await this.#record(file.key)
    if (record?.state !== 'complete' || record.size !== file.size) return undefined
    if (file.hash === undefined && file.validator !== undefined && record.validator !== file.validator) return undefined
    const blobs = allChunks(await this.store.chunks(file.key), record.size, record.chunkBytes)
    if (blobs === undefined) return undefined
    return new CachedSource(file, record.chunkBytes, blobs, (slice, options) => this.#repair(file, record, fill, slice, options))
  }

  /** @param opened the record of the file as it was opened */
  async #repair(file: StoredFile, opened: FileRecord, fill: Fill, slice: ChunkSlice, options: ReadOptions): Promise<Blob> {
    const { index, begin, end } = slice
    const signal = options.signal ?? new AbortController().signal
    // Whoever reads a file that was released holds it meanwhile: what comes must not make room for itself.
    const release = await this.#use(file.key)
    try {
      const blob = await this.locks.exclusively(downloadLock(file.key), signal, async () => {
        if (!isSameContent(file, opened, await this.#record(file.key), index)) throw fileChanged(file)
        const there = await this.store.chunk(file.key, index)
        if (there !== undefined && (await readBlob(there, begin, end)) !== undefined) return there
        await this.store.deleteChunks(file.key, [index])
        await completeFile(this, file, fill, new ProgressMeter(file.path, file.size, undefined), signal)
        return this.store.chunk(file.key, index)
      })
      if (blob !== undefined) return blob
    } finally {
      release()
    }
    throw new StorageError('storage-unreadable', `A stored part of ${file.path} cannot be read`, { path: file.path, index })
  }
}

/** Whether a chunk of what is stored now is of the file that was opened: another tab may have replaced what lies at an address. */
function isSameContent(file: StoredFile, opened: FileRecord, now: FileRecord | undefined, index: number): boolean {
  if (!isAddressKey(file.key)) return true
  if (now === undefined) return opened.validator !== undefined
  if (now.size !== opened.size || now.validator !== opened.validator) return false
  return opened.validator !== undefined || now.digests[index] === opened.digests[index]
}
