/** The cached models as a page sees them: list, delete, verify. What keeps them is the engine's. */

import type { CachedModel, VerifyResult } from '../../hub/cache-manager.js'
import type { CachedModelReference } from '../protocol.js'
import { sharedEngine, type Engine } from './engine-client.js'

/** The models in this browser's storage. */
export class ModelCache {
  readonly #engine: Engine

  constructor({ engine = sharedEngine() }: { readonly engine?: Engine | undefined } = {}) {
    this.#engine = engine
  }

  /** Models of which something is stored, the one used last first. @throws StorageError */
  list(): Promise<readonly CachedModel[]> {
    return this.#engine.connect().call((engine) => engine.cachedModels())
  }

  /** Deletes what no other model shares and nothing uses. @returns the bytes that became free. @throws StorageError */
  delete(model: CachedModelReference): Promise<number> {
    return this.#engine.connect().call((engine) => engine.deleteCachedModel(model))
  }

  /** Reads all that is stored of a model, compares it with its hashes, and deletes what is wrong. @throws StorageError, AbortError */
  verify(model: CachedModel, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<VerifyResult> {
    return this.#engine.connect().call((engine, call, onEvents) => engine.verifyCachedModel(call, model, onEvents), { signal })
  }
}
