/** What a download needs besides its file. */

import type { CreateHasher } from '../cache/file-hasher.js'
import type { LayeredStore } from '../cache/layered-store.js'
import type { MemoryBudget } from './download-memory.js'
import type { Network } from '../http/piece-fetch.js'

/** What a download needs besides its file. */
export interface Downloading extends Network {
  readonly store: LayeredStore
  readonly budget: MemoryBudget
  /** Limit on the bytes that are hashed and stored at once. */
  readonly copies: MemoryBudget
  readonly createHasher: CreateHasher
  now(): number
}
