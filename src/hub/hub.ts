/**
 * The hub of one worker: it connects the cache, the network and the downloads, and opens single files through them. Repositories are opened
 * with open-repository.ts.
 */

import { StorageError } from '../errors.js'
import { CacheManager } from './cache/cache-manager.js'
import type { ChunkStore } from './cache/chunk-store.js'
import { evictOldest } from './cache/eviction.js'
import { createLocks, type Locks } from './cache/file-locks.js'
import { LayeredStore } from './cache/layered-store.js'
import { openShardCache } from './cache/shard-cache.js'
import { DownloadMemory } from './downloads/download-memory.js'
import type { DownloadServices, Fill } from './downloads/download-services.js'
import { FileOpener, type OpenedFile } from './downloads/file-opener.js'
import { HashThread } from './downloads/hash-thread.js'
import { HeaderOnlyFile } from './downloads/header-only-file.js'
import { fillFromServer } from './downloads/server-fill.js'
import { createTransport, type Fetch, type Transport } from './http/transport.js'
import type { StoredFile } from './stored-file.js'
import { defaultSettings, type TransferSettings } from './settings.js'
import type { HeaderOnlySource, OpenOptions } from './types.js'
import type { RemoteFile } from './http/file-location.js'

/** How to open a hub. */
export interface HubOptions {
  readonly settings?: Partial<TransferSettings> | undefined
  /** Where chunks are stored; null keeps them in memory only. Default: IndexedDB, or memory when it cannot be used. */
  readonly store?: ChunkStore | null | undefined
  /** Sends the requests. Default: the global `fetch`. */
  readonly fetch?: Fetch | undefined
  /** Receives the errors of the browser's storage. After an error, what is downloaded may be in memory only. */
  readonly onStorageTrouble?: ((error: StorageError) => void) | undefined
}

/** A worker's cache and downloads. Open one hub per worker: the files of a hub share connections and memory limits. */
export class Hub {
  readonly store: LayeredStore
  readonly transport: Transport
  /** The memory for chunks that are being downloaded or made, shared by all files. */
  readonly memory: DownloadMemory
  readonly cache: CacheManager
  readonly #services: DownloadServices
  readonly #files: FileOpener

  private constructor(store: LayeredStore, transport: Transport, locks: Locks) {
    const { memoryBytes, copyBytes } = transport.settings
    this.store = store
    this.transport = transport
    this.memory = new DownloadMemory(memoryBytes)
    this.cache = new CacheManager(store, locks)
    this.#services = {
      transport,
      store,
      memory: this.memory,
      copyMemory: new DownloadMemory(copyBytes),
      createHasher: new HashThread().create,
      now: () => this.now(),
    }
    this.#files = new FileOpener(this.#services, locks)
  }

  /** Opens the cache. If it cannot be opened, everything is kept in memory, and `onStorageTrouble` receives the reason. */
  static async open(options: HubOptions = {}): Promise<Hub> {
    const settings = { ...defaultSettings, ...options.settings }
    const onTrouble = options.onStorageTrouble ?? (() => {})
    let persistent = options.store ?? undefined
    if (options.store === undefined) {
      try {
        persistent = await openShardCache(settings)
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        onTrouble(error)
      }
    }
    const locks = await createLocks()
    const store = new LayeredStore(persistent, { onTrouble, evict: (layered) => evictOldest(layered, locks) })
    return new Hub(store, createTransport(settings, options.fetch), locks)
  }

  /** The time in milliseconds since 1970. */
  now(): number {
    return Date.now()
  }

  /** Opens a server's file, whole and verified, or the parts of it that `options` choose. The bytes come from the cache, the server or another tab's download. */
  openRemote(file: RemoteFile, options: OpenOptions): Promise<OpenedFile> {
    return this.#files.open(file, fillFromServer(this.#services, file), options, () => new HeaderOnlyFile(this.transport, file))
  }

  /** Opens a file to read its header: from the cache if an earlier opening was completed, else from the server without storing bytes. */
  async openHeaderOnly(file: RemoteFile): Promise<HeaderOnlySource> {
    const fill = fillFromServer(this.#services, file)
    const cached = (await this.#files.cached(file, fill)) ?? (await this.#files.cached(file, fill, new Set()))
    return Object.assign(cached ?? new HeaderOnlyFile(this.transport, file), { cost: await this.#files.measure(file) })
  }

  /** Opens a file, whole and verified: from the cache, or filled by `fill` unless another tab is filling it. */
  openFile(file: StoredFile, fill: Fill, options: OpenOptions): Promise<OpenedFile> {
    return this.#files.open(file, fill, options)
  }
}
