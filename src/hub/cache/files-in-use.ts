/** Which cached files this worker has in use: their locks keep every tab from evicting them. */

import { useLock, type Locks } from './file-locks.js'
import type { CachedSource } from './cached-source.js'
import type { LayeredStore } from './layered-store.js'

interface Use {
  count: number
  readonly sources: Set<CachedSource>
}

/** Counts the users of each file in this worker, and holds one shared lock per use. */
export class FilesInUse {
  readonly #store: LayeredStore
  readonly #locks: Locks
  readonly #uses = new Map<string, Use>()

  constructor(store: LayeredStore, locks: Locks) {
    this.#store = store
    this.#locks = locks
  }

  /**
   * Marks a file as in use. Returns the release. The last release frees what only this worker's memory has of the file, and drops the Blobs
   * of its sources: the browser cannot reclaim the disk space of a deleted Blob while someone references it.
   */
  async use(key: string): Promise<() => void> {
    const unlock = await this.#locks.share(useLock(key))
    const use = this.#uses.get(key) ?? { count: 0, sources: new Set() }
    this.#uses.set(key, use)
    use.count++
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      if (--use.count === 0) {
        this.#uses.delete(key)
        // Bytes in memory can be read from these Blobs only, so a source of them keeps its Blobs.
        if (!this.#store.isInMemory(key)) for (const source of use.sources) source.releaseBlobs()
        this.#store.releaseMemory(key)
      }
      unlock()
    }
  }

  /** Adds a source whose Blobs are dropped with the last release of its file, if the file is in use. */
  addSource(key: string, source: CachedSource): void {
    this.#uses.get(key)?.sources.add(source)
  }
}
