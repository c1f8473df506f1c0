/** The cached models as a page sees them: list, measure, delete, verify, give out. What keeps them is the engine's. */

import type { CachedFile, CachedModel, VerifyResult } from '../../hub/cache/cache-manager.js'
import type { CachedModelReference, ExportedFile } from '../protocol.js'
import { sharedEngine, type Engine } from './engine-client.js'

/** The models in this browser's storage. */
export class ModelCache {
  readonly #engine: Engine

  /** Over the cache of `engine`, by default the one that all of a page's pipelines share. */
  constructor({ engine = sharedEngine() }: { readonly engine?: Engine | undefined } = {}) {
    this.#engine = engine
  }

  /** Models of which something is stored, the one used last first. @throws StorageError */
  list(): Promise<readonly CachedModel[]> {
    return this.#engine.connect().call((engine) => engine.cachedModels())
  }

  /** Every stored content once, whichever models have it, the one used last first. @throws StorageError */
  files(): Promise<readonly CachedFile[]> {
    return this.#engine.connect().call((engine) => engine.cachedFiles())
  }

  /** Bytes stored in all. What models share counts once, so it can be less than their sum. @throws StorageError */
  totalBytes(): Promise<number> {
    return this.#engine.connect().call((engine) => engine.cachedBytes())
  }

  /**
   * A model's complete files, for a page to save as a folder: such a folder can be opened again as a repository. Nothing is read until a
   * Blob is; one whose file is deleted first can no longer be read. @throws StorageError
   */
  export(model: CachedModel): Promise<readonly ExportedFile[]> {
    return this.#engine.connect().call((engine) => engine.exportCachedModel(model))
  }

  /** Deletes everything that nothing uses. @returns the bytes that became free. @throws StorageError */
  clear(): Promise<number> {
    return this.#engine.connect().call((engine) => engine.clearCache())
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
