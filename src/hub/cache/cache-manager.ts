/**
 * The cache as its owner sees it: which models and files it holds, how large, used when; deleting, checking and giving out. It also
 * makes room when the browser's storage is full. What a tab has open is never deleted.
 */

import { chunkCount, chunkRange } from '../chunk-layout.js'
import { asFileRecord, fileRecordKey, type FileRecord } from './file-record.js'
import { sha256Hex } from './file-hasher.js'
import { downloadLock, useLock, type Locks } from './file-locks.js'
import type { LayeredStore } from './layered-store.js'
import { hashKey } from '../remote-file.js'
import { asRepositoryRecord, repositoryPrefix, type RepositoryRecord } from './repository-record.js'
import type { ReadOptions } from '../types.js'

/** One content of the cache. */
export interface CachedFile {
  /** Names the content. */
  readonly key: string
  /** A path that it has in a repository. */
  readonly path: string
  /** Bytes of the whole file. */
  readonly size: number
  /** Bytes of it that are stored. */
  readonly stored: number
  /** Whether all of it is stored. */
  readonly complete: boolean
  /** Whether it was compared with a hash its host published. */
  readonly verified: boolean
  /** Keys of the contents that it was made from here, as quantised weights are; absent for what was downloaded. */
  readonly madeFrom?: readonly string[] | undefined
  /** When it was last opened. */
  readonly lastUsed: Date
}

/** One repository at one revision, with its files of which something is stored, and those that were made from them. */
export interface CachedModel {
  /** `owner/name`; empty where the base URL is all the name there is. */
  readonly id: string
  /** Base URL of the Hub it came from; of the files where there is no Hub. */
  readonly endpoint: string
  /** The commit, or a word for hosts without commits. */
  readonly revision: string
  /** Its files of which something is stored. */
  readonly files: readonly CachedFile[]
  /** Bytes stored for its files, those that it shares with other models included. */
  readonly stored: number
  /** When one of its files was last opened. */
  readonly lastUsed: Date
}

/** What a check of stored files found. */
export interface VerifyResult {
  /** Chunks that were read and compared. */
  readonly chunks: number
  /** Chunks that were wrong or unreadable, and were deleted: the next load fetches these and no others. */
  readonly bad: readonly { readonly path: string; readonly index: number }[]
}

const filePrefix = fileRecordKey('')

export class CacheManager {
  readonly #store: LayeredStore
  readonly #locks: Locks

  constructor(store: LayeredStore, locks: Locks) {
    this.#store = store
    this.#locks = locks
  }

  /** Every content, the one used last first. */
  async files(): Promise<CachedFile[]> {
    const found: CachedFile[] = []
    for (const [key, record] of await this.#records()) found.push(await this.#describe(key, record))
    return found.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime())
  }

  /** Every repository of which something is stored, the one used last first. */
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

  /** Bytes stored in all. */
  async totalBytes(): Promise<number> {
    return (await this.files()).reduce((sum, file) => sum + file.stored, 0)
  }

  /** Deletes a model's files but those that another model has too or that are in use. Returns the bytes that became free. */
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

  /** Deletes one content. Returns the bytes that became free, as far as that is known; undefined when it is in use. */
  async deleteFile(key: string): Promise<number | undefined> {
    return this.#locks.ifFree(useLock(key), async () => {
      const record = asFileRecord(await this.#store.record(fileRecordKey(key)))
      const indexes = await this.#store.chunkIndexes(key)
      // The record first: chunks without one count as absent.
      await this.#store.deleteRecord(fileRecordKey(key))
      await this.#store.deleteChunks(key)
      return record === undefined ? 0 : storedBytes(record, indexes)
    })
  }

  /** Deletes everything that is not in use. Returns the bytes that became free. */
  async clear(): Promise<number> {
    await this.#deleteOrphans()
    let freed = 0
    for (const [key] of await this.#records()) freed += (await this.deleteFile(key)) ?? 0
    if ((await this.#records()).length === 0) {
      for (const [key] of await this.#store.records('')) await this.#store.deleteRecord(key)
    }
    return freed
  }

  /** Reads every stored chunk of a model (of everything without one) and compares its digest; deletes what is wrong. */
  async verify(model?: CachedModel, options: ReadOptions = {}): Promise<VerifyResult> {
    const wanted = model === undefined ? undefined : new Set(model.files.map((file) => file.key))
    let chunks = 0
    const bad: { path: string; index: number }[] = []
    for (const [key, { name }] of await this.#records()) {
      if (wanted !== undefined && !wanted.has(key)) continue
      for (const index of await this.#store.chunkIndexes(key)) {
        options.signal?.throwIfAborted()
        const sound = await this.#isSound(key, index)
        if (sound !== undefined) chunks++
        if (sound === false && (await this.#deleteUnsound(key, index))) bad.push({ path: name, index })
      }
    }
    return { chunks, bad }
  }

  /** Whether a chunk has its digest; undefined where it is not there. */
  async #isSound(key: string, index: number): Promise<boolean | undefined> {
    const blob = await this.#store.chunk(key, index)
    const record = asFileRecord(await this.#store.record(fileRecordKey(key)))
    if (blob === undefined || record === undefined) return undefined
    const digest = record.digests[index]
    return digest === '' || digest === (await digestOf(blob))
  }

  /** False where it is sound after all: a file that was replaced meanwhile has other chunks, and other digests. */
  async #deleteUnsound(key: string, index: number): Promise<boolean> {
    const deleted = await this.#locks.ifFree(downloadLock(key), async () => {
      if ((await this.#isSound(key, index)) !== false) return false
      await this.#store.deleteChunks(key, [index])
      return true
    })
    return deleted === true
  }

  /** A model's complete files as Blobs, to be saved elsewhere; nothing is read until a Blob is. */
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

  /**
   * Deletes the content that was used longest ago and that no tab has open. Returns the bytes that became free, as far as that is known;
   * undefined when there is none.
   */
  async evictOldest(): Promise<number | undefined> {
    if ((await this.#deleteOrphans()) > 0) return 0
    const oldest = (await this.#records()).sort(([, a], [, b]) => a.lastUsed - b.lastUsed)
    for (const [key] of oldest) {
      const freed = await this.deleteFile(key)
      if (freed !== undefined) return freed
    }
    return undefined
  }

  /** Chunks without a record, left by a browser that was ended between two writes. Returns for how many files. */
  async #deleteOrphans(): Promise<number> {
    // The records last: a file that begins meanwhile has its record before its first chunk.
    const files = await this.#store.chunkFiles()
    const known = new Set((await this.#records()).map(([key]) => key))
    let deleted = 0
    for (const key of files) if (!known.has(key) && (await this.deleteFile(key)) !== undefined) deleted++
    return deleted
  }

  async #records(): Promise<[string, FileRecord][]> {
    const found = await this.#store.records(filePrefix)
    return found.flatMap(([key, value]): [string, FileRecord][] => {
      const record = asFileRecord(value)
      return record === undefined ? [] : [[key.slice(filePrefix.length), record]]
    })
  }

  async #repositories(): Promise<RepositoryRecord[]> {
    const found = await this.#store.records(repositoryPrefix)
    return found.flatMap(([, value]) => asRepositoryRecord(value) ?? [])
  }

  async #describe(key: string, record: FileRecord): Promise<CachedFile> {
    const indexes = await this.#store.chunkIndexes(key)
    const stored = storedBytes(record, indexes)
    const complete = record.state === 'complete' && stored === record.size
    const { name, size, verified, madeFrom, lastUsed } = record
    return { key, path: name, size, stored, complete, verified: complete && verified, madeFrom, lastUsed: new Date(lastUsed) }
  }
}

/** What is stored of a repository: what was downloaded, wholly or in part, and what was made from files that it lists or had. */
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

/** Bytes of a file's stored chunks. */
function storedBytes({ size, chunkBytes }: FileRecord, indexes: readonly number[]): number {
  const lengths = indexes
    .filter((index) => index < chunkCount(size, chunkBytes))
    .map((index) => chunkRange(index, size, chunkBytes))
  return lengths.reduce((sum, { begin, end }) => sum + end - begin, 0)
}

async function digestOf(blob: Blob): Promise<string | undefined> {
  try {
    return await sha256Hex(new Uint8Array(await blob.arrayBuffer()))
  } catch {
    return undefined
  }
}
