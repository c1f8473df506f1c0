/** The model cache as a page sees it: lists, measures, deletes, verifies and exports models. The engine does the work. */

import type { CachedFile, CachedModel, VerifyResult } from '../../hub/cache/cache-manager.js'
import type { CachedModelReference, ExportedFile } from '../protocol.js'
import { sharedEngine, type Engine } from './engine-client.js'

/** The models in the storage of this browser. */
export class ModelCache {
  readonly #engine: Engine

  /** Uses the cache of `engine`, by default of the engine that all pipelines of a page share. */
  constructor({ engine = sharedEngine() }: { readonly engine?: Engine | undefined } = {}) {
    this.#engine = engine
  }

  /** Models with stored data, most recently used first. @throws StorageError */
  list(): Promise<readonly CachedModel[]> {
    return this.#engine.connect().call((engine) => engine.cachedModels())
  }

  /** Stored files, most recently used first; a file that several models share is listed once. @throws StorageError */
  files(): Promise<readonly CachedFile[]> {
    return this.#engine.connect().call((engine) => engine.cachedFiles())
  }

  /** The total number of stored bytes. Files that models share count once, so this can be less than the sum over models. @throws StorageError */
  totalBytes(): Promise<number> {
    return this.#engine.connect().call((engine) => engine.cachedBytes())
  }

  /**
   * The complete files of a model; files that are stored in part, and quantized copies, are left out. A page can save them as a folder, which can be opened again as a repository. Bytes are read only when a
   * Blob is read; a Blob whose file was deleted can no longer be read. @throws StorageError
   */
  export(model: CachedModel): Promise<readonly ExportedFile[]> {
    return this.#engine.connect().call((engine) => engine.exportCachedModel(model))
  }

  /** Deletes everything that is not in use. @returns the number of bytes freed. @throws StorageError */
  clear(): Promise<number> {
    return this.#engine.connect().call((engine) => engine.clearCache())
  }

  /** Deletes the files of a model, except those that another model shares or that are in use. @returns the number of bytes freed. @throws StorageError */
  delete(model: CachedModelReference): Promise<number> {
    return this.#engine.connect().call((engine) => engine.deleteCachedModel(model))
  }

  /** Compares the stored data of a model with its hashes, and deletes what differs. @throws StorageError, AbortError */
  verify(model: CachedModel, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<VerifyResult> {
    return this.#engine.connect().call((engine, call, onEvents) => engine.verifyCachedModel(call, model, onEvents), { signal })
  }
}
