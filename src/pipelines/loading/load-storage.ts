/** Counts the bytes that a load downloads, and the bytes that its weights need in the cache, while the headers of the weight files are read. */

import type { OpeningCost } from '../../hub/types.js'
import type { WeightsCopy } from './read-network-headers.js'

/** The bytes that a load downloads, and those that it stores. Files from the user's disk are not stored. */
export interface LoadStorage {
  /** Bytes of weight files that a load would download. Cached files, and networks whose quantized copy is cached, need none. */
  readonly downloadBytes: number
  /** Bytes of weights that the cache has after the load: the files, as far as they are used, and quantized copies. */
  readonly keptBytes: number
  /** The most bytes of weights that the cache may have during the load, including the originals that `keepOriginal: false` deletes later. */
  readonly diskBytes: number
}

/** Counts what `readNetworkHeaders` opens. */
export class StorageCount {
  readonly #files: (OpeningCost & { readonly path: string })[] = []
  readonly #copies: WeightsCopy[] = []

  readonly onOpen = (cost: OpeningCost, path: string): void => {
    this.#files.push({ ...cost, path })
  }

  readonly onCopy = (copy: WeightsCopy): void => {
    this.#copies.push(copy)
  }

  /** The bytes to download and to store for all counted files and copies. */
  get total(): LoadStorage {
    const replaced = new Set(this.#copies.flatMap(({ replaces }) => replaces))
    const copied = this.#copies.reduce((sum, { bytes }) => sum + bytes, 0)
    return {
      downloadBytes: this.#files.reduce((sum, { fetched }) => sum + fetched, 0),
      keptBytes: keptOf(this.#files.filter(({ path }) => !replaced.has(path))) + copied,
      diskBytes: keptOf(this.#files) + copied,
    }
  }
}

function keptOf(files: readonly OpeningCost[]): number {
  return files.reduce((sum, { kept }) => sum + kept, 0)
}
