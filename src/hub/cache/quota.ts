/** Writes to the browser's store, and frees space when the browser's quota is used up: evicts files, and waits until their space is free. */

import { StorageError } from '../../errors.js'
import { hurryCollector } from '../../util/free-bytes.js'

/** Evicts one file. Returns the bytes freed, as far as known; undefined when there is none to evict. */
export type Evict = () => Promise<number | undefined>

/**
 * The browser counts deleted bytes against the quota until it has collected them as garbage. A write waits `waitMs` milliseconds for that,
 * at most `maxWaits` times.
 */
const waitMs = 500
const maxWaits = 10

/** Bytes that the browser may count for a stored value in addition to the value's own. */
const overheadBytes = 1 << 20

/** One write that may need more space than there is. */
export interface QuotaWrite {
  readonly put: () => Promise<void>
  /** Bytes to store. */
  readonly bytes: number
  /** Called after each failure. True when this write need not succeed any more, so that nothing is evicted for it. */
  readonly isMoot: () => boolean
}

/** Writes that evict files when the quota is used up. */
export class QuotaWriter {
  readonly #evict: Evict
  #evictions = 0
  #evicting: Promise<boolean> = Promise.resolve(false)
  /** Bytes that evictions have freed and no write has used since. */
  #freed = 0

  constructor(evict: Evict) {
    this.#evict = evict
  }

  /**
   * Writes, and retries as long as files can be evicted. It evicts no more than the write needs: if the write still fails then, something
   * references the deleted bytes, and evicting more would not help.
   * @throws StorageError the last failure
   */
  async write({ put, bytes, isMoot }: QuotaWrite): Promise<void> {
    let hasEvicted = false
    for (let waits = 0; ;) {
      const evictionsBefore = this.#evictions
      const failure = await quotaFailure(put)
      if (failure === undefined) {
        this.#freed = Math.max(0, this.#freed - bytes)
        return
      }
      if (isMoot()) throw failure
      const isEnough = this.#freed >= bytes + overheadBytes
      if (waits < (isEnough ? maxWaits : hasEvicted ? 1 : 0)) {
        waits++
        await waitForCollector()
        continue
      }
      if (isEnough) {
        // Other pages have used the freed space, or something references the deleted bytes.
        this.#freed = 0
        throw failure
      }
      if (waits >= maxWaits || !(await this.#makeRoom(evictionsBefore))) throw failure
      hasEvicted = true
      waits = 0
    }
  }

  /**
   * Evicts one file; false if that is impossible. When many writes fail at once, the evictions run one after the other: a write that failed before another
   * write's eviction is retried before it evicts a file itself.
   */
  #makeRoom(evictionsBefore: number): Promise<boolean> {
    const next = this.#evicting.then(async () => {
      if (this.#evictions !== evictionsBefore) return true
      const freed = await this.#evictOne()
      if (freed === undefined) return false
      this.#evictions++
      this.#freed += freed
      return true
    })
    this.#evicting = next.catch(() => false)
    return next
  }

  async #evictOne(): Promise<number | undefined> {
    try {
      return await this.#evict()
    } catch (error) {
      if (error instanceof StorageError) return undefined
      throw error
    }
  }
}

/** Undefined when `put` succeeds, the error when the quota is used up. @throws any other error */
async function quotaFailure(put: () => Promise<void>): Promise<StorageError | undefined> {
  try {
    await put()
    return undefined
  } catch (error) {
    if (error instanceof StorageError && error.code === 'quota-exceeded') return error
    throw error
  }
}

async function waitForCollector(): Promise<void> {
  hurryCollector()
  await new Promise((resolve) => setTimeout(resolve, waitMs))
}
