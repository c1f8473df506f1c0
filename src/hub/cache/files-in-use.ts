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
   * Marks a file as in use. Returns the function that releases it. The last release frees the chunks that are in this worker's memory only,
   * and drops the Blobs of the file's sources: the browser cannot reclaim the disk space of a deleted Blob while someone references it.
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
        // If the file is in memory, its sources keep their Blobs: after `releaseMemory` no other copy of the bytes exists.
        if (!this.#store.isInMemory(key)) for (const source of use.sources) source.releaseBlobs()
        this.#store.releaseMemory(key)
      }
      unlock()
    }
  }

  /** If the file is in use, adds a source to it. The last release of the file drops the source's Blobs. */
  addSource(key: string, source: CachedSource): void {
    this.#uses.get(key)?.sources.add(source)
  }
}
