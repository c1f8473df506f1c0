/**
 * What a user can do with the cache: list models and files with their sizes and last use, delete, verify and export them. A file that any
 * tab has in use is not deleted.
 */

import type { ChunkStore } from './chunk-store.js'
import { deleteDamaged, isIntact } from './damaged-chunks.js'
import { deleteFile, deleteOrphans, evictOldest, fileRecords, storedBytes, storedParts } from './eviction.js'
import type { Locks } from './file-locks.js'
import type { FileRecord } from './file-record.js'
import { asRepositoryRecord, repositoryPrefix, type RepositoryRecord } from './repository-record.js'
import { hashKey } from '../stored-file.js'
import type { ReadOptions } from '../types.js'

/** One file of the cache. */
export interface CachedFile {
  /** Identifies the file's content. */
  readonly key: string
  /** A path that the file has in a repository. */
  readonly path: string
  /** Bytes of the whole file. */
  readonly size: number
  /** Bytes of the file that are stored. */
  readonly stored: number
  /** True if the whole file is stored, or every part of it that a loaded model has needed. */
  readonly complete: boolean
  /** Whether the whole file was compared with a hash that its host published. False if only parts of it are stored. */
  readonly verified: boolean
  /** Keys of the files from which this file was made, such as the originals of quantized weights; absent for a downloaded file. */
  readonly madeFrom?: readonly string[] | undefined
  /** When the file was last opened. */
  readonly lastUsed: Date
}

/** One repository at one revision, with its files that are stored at least in part, and the files that were made from them. */
export interface CachedModel {
  /** `owner/name` on a Hub; empty if the model came from another server, which only `endpoint` names. */
  readonly id: string
  /** Base URL of the Hub that the model came from; base URL of the files when they did not come from a Hub. */
  readonly endpoint: string
  /** The commit, or another identifier on hosts without commits. */
  readonly revision: string
  /** The model's files that are stored at least in part. */
  readonly files: readonly CachedFile[]
  /** Bytes stored for the model's files, including those that it shares with other models. */
  readonly stored: number
  /** When the repository, or one of its files, was last opened. */
  readonly lastUsed: Date
}

/** The result of verifying stored files. */
export interface VerifyResult {
  /** Number of chunks that were checked, including chunks without a digest to compare with. */
  readonly chunks: number
  /** Chunks that were wrong or unreadable, and were deleted. The next load downloads these chunks only. */
  readonly bad: readonly { readonly path: string; readonly index: number }[]
}

/** Lists, deletes, verifies and exports cached files. Every method may throw a StorageError. */
export class CacheManager {
  readonly #store: ChunkStore
  readonly #locks: Locks

  constructor(store: ChunkStore, locks: Locks) {
    this.#store = store
    this.#locks = locks
  }

  /** Every file, the most recently used first. */
  async files(): Promise<CachedFile[]> {
    const found: CachedFile[] = []
    for (const [key, record] of await fileRecords(this.#store)) found.push(await this.#describe(key, record))
    return found.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime())
  }

  /** Every repository with a stored file, the most recently used first. */
  async models(): Promise<CachedModel[]> {
    const files = await this.files()
    const models: CachedModel[] = []
    for (const record of await this.#repositories()) {
      const own = filesOf(record, files)
      if (own.length === 0) continue
      const stored = [...new Map(own.map((file) => [file.key, file.stored])).values()].reduce((sum, bytes) => sum + bytes, 0)
      const { id, endpoint, revision, lastUsed } = record
      models.push({
        id,
        endpoint,
        revision,
        files: own.sort((a, b) => (a.path < b.path ? -1 : 1)),
        stored,
        lastUsed: new Date(lastUsed),
      })
    }
    return models.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime())
  }

  /** Bytes of all stored files. */
  async totalBytes(): Promise<number> {
    return (await this.files()).reduce((sum, file) => sum + file.stored, 0)
  }

  /** Deletes a model's files, except those that another model shares or that are in use. Returns the bytes freed. */
  async deleteModel(model: Pick<CachedModel, 'id' | 'endpoint' | 'revision'>): Promise<number> {
    const same = (record: RepositoryRecord) =>
      record.id === model.id && record.endpoint === model.endpoint && record.revision === model.revision
    const repositories = await this.#repositories()
    const files = await this.files()
    const keysOf = (records: readonly RepositoryRecord[]) =>
      new Set(records.flatMap((record) => filesOf(record, files).map((file) => file.key)))
    const elsewhere = keysOf(repositories.filter((record) => !same(record)))
    let freed = 0
    let kept = false
    for (const key of keysOf(repositories.filter(same))) {
      if (elsewhere.has(key)) continue
      const bytes = await this.deleteFile(key)
      if (bytes === undefined) kept = true
      else freed += bytes
    }
    if (!kept) {
      for (const [key, value] of await this.#store.records(repositoryPrefix)) {
        const record = asRepositoryRecord(value)
        if (record !== undefined && same(record)) await this.#store.deleteRecord(key)
      }
    }
    return freed
  }

  /** Deletes one file. Returns the bytes freed, as far as known, or undefined when the file is in use. */
  deleteFile(key: string): Promise<number | undefined> {
    return deleteFile(this.#store, this.#locks, key)
  }

  /** Deletes every file that is not in use. Returns the bytes freed. */
  async clear(): Promise<number> {
    await deleteOrphans(this.#store, this.#locks)
    let freed = 0
    for (const [key] of await fileRecords(this.#store)) freed += (await this.deleteFile(key)) ?? 0
    if ((await fileRecords(this.#store)).length === 0) {
      for (const [key] of await this.#store.records('')) await this.#store.deleteRecord(key)
    }
    return freed
  }

  /** Reads every stored chunk of a model (without `model`, of every file), compares it with its digest, and deletes it if it is wrong. */
  async verify(model?: CachedModel, options: ReadOptions = {}): Promise<VerifyResult> {
    const wanted = model === undefined ? undefined : new Set(model.files.map((file) => file.key))
    let chunks = 0
    const bad: { path: string; index: number }[] = []
    for (const [key, { name }] of await fileRecords(this.#store)) {
      if (wanted !== undefined && !wanted.has(key)) continue
      for (const index of await this.#store.chunkIndexes(key)) {
        options.signal?.throwIfAborted()
        const intact = await isIntact(this.#store, key, index)
        if (intact !== undefined) chunks++
        if (intact === false && (await deleteDamaged(this.#store, this.#locks, key, index))) bad.push({ path: name, index })
      }
    }
    return { chunks, bad }
  }

  /**
   * A model's complete files as Blobs, to save them elsewhere. Bytes are read only when a Blob is read. Files that are stored in part, and
   * files with `madeFrom`, are left out.
   */
  async exportModel(model: CachedModel): Promise<{ readonly path: string; readonly blob: Blob }[]> {
    const files: { path: string; blob: Blob }[] = []
    for (const file of model.files) {
      if (!file.complete || file.madeFrom !== undefined) continue
      const chunks = await this.#store.chunks(file.key)
      const parts = [...chunks].sort(([a], [b]) => a - b).map(([, blob]) => blob)
      const blob = new Blob(parts)
      if (blob.size === file.size) files.push({ path: file.path, blob })
    }
    return files
  }

  /** Deletes the least recently used file that no tab has in use: see {@link evictOldest}. */
  evictOldest(): Promise<number | undefined> {
    return evictOldest(this.#store, this.#locks)
  }

  async #repositories(): Promise<RepositoryRecord[]> {
    const found = await this.#store.records(repositoryPrefix)
    return found.flatMap(([, value]) => asRepositoryRecord(value) ?? [])
  }

  async #describe(key: string, record: FileRecord): Promise<CachedFile> {
    const indexes = await this.#store.chunkIndexes(key)
    const stored = storedBytes(record, indexes)
    const parts = storedParts(record)
    const whole = new Set(indexes.filter((index) => !parts.has(index)))
    const complete =
      record.state === 'complete' ? stored === record.size : record.chosen?.every((index) => whole.has(index)) === true
    const { name, size, verified, madeFrom, lastUsed } = record
    return { key, path: name, size, stored, complete, verified: complete && verified, madeFrom, lastUsed: new Date(lastUsed) }
  }
}

/** The stored files of a repository: its downloads, and the files made from a download or from a file that the repository lists. */
function filesOf({ files: listed, begun, opened }: RepositoryRecord, files: readonly CachedFile[]): CachedFile[] {
  const byKey = new Map(files.map((file) => [file.key, file]))
  const downloads = Object.entries({ ...begun, ...opened })
  const sources = new Set(downloads.map(([, key]) => key))
  for (const { sha256 } of listed ?? []) if (sha256 !== undefined) sources.add(hashKey({ algorithm: 'sha256', hex: sha256 }))
  const made = files.filter((file) => file.madeFrom?.some((key) => sources.has(key)))
  return downloads
    .flatMap(([path, key]) => {
      const file = byKey.get(key)
      return file === undefined ? [] : [{ ...file, path }]
    })
    .concat(made)
}
