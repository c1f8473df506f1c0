/** What a download needs besides its file. */

import type { CreateHasher } from '../cache/file-hasher.js'
import type { LayeredStore } from '../cache/layered-store.js'
import type { DownloadMemory } from './download-memory.js'
import type { Transport } from '../http/piece-fetch.js'

/** What a download needs besides its file. */
export interface Downloading extends Transport {
  readonly store: LayeredStore
  readonly budget: DownloadMemory
  /** Limit on the bytes that are hashed and stored at once. */
  readonly copies: DownloadMemory
  readonly createHasher: CreateHasher
  now(): number
}
