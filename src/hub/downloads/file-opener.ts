/** Opens files: from the cache, by completing them, or by waiting for another tab that completes them. Repairs cached files whose chunks are lost. */

import { CheckpointError, StorageError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { CachedSource, readBlob, storedChunks } from '../cache/cached-source.js'
import { deleteDamaged } from '../cache/damaged-chunks.js'
import { downloadLock, type Locks } from '../cache/file-locks.js'
import { asFileRecord, fileRecordKey, type FileRecord } from '../cache/file-record.js'
import { FilesInUse } from '../cache/files-in-use.js'
import { chunkCount, chunkRange, chunksOf, chunkSum, type ChunkSlice } from '../chunk-layout.js'
import { fileChanged } from '../http/http-errors.js'
import { checkMaxBytes } from '../names.js'
import { contentName, isAddressKey, type StoredFile } from '../stored-file.js'
import type { ByteRange, ByteSource, OpeningCost, OpenOptions, ReadOptions } from '../types.js'
import { asChunkParts } from '../cache/chunk-parts.js'
import { completeFile } from './complete-file.js'
import { followProgress, shareProgress } from './download-channel.js'
import type { DownloadServices, Fill } from './download-services.js'
import type { DownloadingFile } from './downloading-file.js'
import { ProgressMeter } from './progress-meter.js'
import { canResume, hasSameContent } from './stored-progress.js'

/** The most times that one opening completes a file. Users may clear the browser's storage at any time, so a file may be gone right after it was completed. */
const maxCompletions = 3

/** A file in use. */
export interface OpenedFile {
  readonly source: ByteSource
  /** Ends the use: the cache may evict the file again. */
  readonly release: () => void
}

/** A file that is not in the cache yet, with the callbacks of its opening and the signal that cancels it. */
interface Opening {
  readonly file: StoredFile
  readonly fill: Fill
  readonly meter: ProgressMeter
  readonly signal: AbortSignal
  /** Indexes of the chunks that are wanted; undefined: all. */
  readonly wanted: ReadonlySet<number> | undefined
  readonly onDownloading: OpenOptions['onDownloading']
}

/** Opens, completes and repairs the files of one hub. */
export class FileOpener {
  readonly #services: DownloadServices
  readonly #locks: Locks
  readonly #inUse: FilesInUse

  constructor(services: DownloadServices, locks: Locks) {
    this.#services = services
    this.#locks = locks
    this.#inUse = new FilesInUse(services.store, locks)
  }

  /**
   * Opens a whole, verified file, or the parts of a file that `options.choose` chooses. `fill` gets missing chunks, unless another tab is
   * getting them. `head` returns a source for `choose` that reads the file's header; if `head` is absent, the whole file is opened.
   * @throws HubError, StorageError, AbortError
   */
  async open(file: StoredFile, fill: Fill, options: OpenOptions, head?: () => ByteSource): Promise<OpenedFile> {
    const signal = options.signal ?? new AbortController().signal
    if (signal.aborted) throw abortError(signal)
    checkMaxBytes(file.path, file.size, options.maxBytes)
    const release = await this.#inUse.use(file.key)
    try {
      const whole = await this.cached(file, fill)
      const choice = whole === undefined && head !== undefined ? await this.#choose(file, fill, options, head) : undefined
      const total = choice?.bytes ?? file.size
      const meter = new ProgressMeter(file.path, total, options.onProgress)
      const wanted = choice?.chunks
      let source = whole ?? (wanted && (await this.cached(file, fill, wanted)))
      if (source === undefined) {
        source = await this.#complete({ file, fill, meter, signal, wanted, onDownloading: options.onDownloading })
      } else {
        meter.complete(total)
      }
      await this.#recordUse(file.key)
      this.#inUse.addSource(file.key, source)
      return { source, release }
    } catch (error) {
      release()
      // The signal may have ended any wait: for a lock, a connection or a request.
      throw signal.aborted ? abortError(signal) : error
    }
  }

  /**
   * The file from the cache. Undefined if the cache has another version of the file, if no opening of the file was completed, or if a chunk
   * of `wanted` (by default, any chunk) is missing. `fill` fetches chunks that the browser loses later, and chunks outside `wanted` when
   * they are read.
   */
  async cached(file: StoredFile, fill: Fill, wanted?: ReadonlySet<number>): Promise<CachedSource | undefined> {
    const { store } = this.#services
    const record = await this.#record(file.key)
    if (record === undefined || record.size !== file.size) return undefined
    if (record.state !== 'complete' && (wanted === undefined || record.chosen === undefined || !hasSameContent(record, file)))
      return undefined
    if (file.hash === undefined && file.validator !== undefined && record.validator !== file.validator) return undefined
    const blobs = storedChunks(await store.chunks(file.key), record.size, record.chunkBytes, wanted)
    if (blobs === undefined) return undefined
    return new CachedSource(file, record.chunkBytes, blobs, (slice, options) =>
      this.#repair({ file, fill, record }, slice, options),
    )
  }

  /**
   * Returns a function that computes what opening the file would download and keep. Its argument is the ranges that are wanted; null means
   * the whole file.
   */
  async measure(file: StoredFile): Promise<(ranges: readonly ByteRange[] | null) => OpeningCost> {
    const record = await this.#record(file.key)
    const isKnown = record?.size === file.size && (record.state === 'complete' || hasSameContent(record, file))
    const chunkBytes = isKnown ? record.chunkBytes : this.#services.transport.settings.chunkBytes
    const stored = isKnown ? new Set(await this.#services.store.chunkIndexes(file.key)) : new Set<number>()
    // An aborted download stores the parts of a chunk under the chunk's index, but the chunk itself is missing.
    for (const { index } of asChunkParts(record?.parts, (at) => chunkRange(at, file.size, chunkBytes))) stored.delete(index)
    const sum = (chunks: Iterable<number>) => chunkSum(chunks, file.size, chunkBytes)
    return (ranges) => {
      const whole = ranges === null || record?.state === 'complete' || !isFixed(file)
      const wanted = whole ? allIndexes(file.size, chunkBytes) : chunksOf(ranges, chunkBytes)
      const missing = sum([...wanted].filter((index) => !stored.has(index)))
      return { fetched: missing, kept: sum(stored) + missing }
    }
  }

  /** The chunks that the caller chooses. Undefined: the whole file. */
  async #choose(
    file: StoredFile,
    fill: Fill,
    { choose, signal }: OpenOptions,
    head: () => ByteSource,
  ): Promise<{ readonly chunks: ReadonlySet<number>; readonly bytes: number } | undefined> {
    if (choose === undefined || !isFixed(file)) return undefined
    const record = await this.#record(file.key)
    const opened = await this.cached(file, fill, new Set())
    const resumes = record !== undefined && canResume(record, file)
    const chunkBytes = resumes ? record.chunkBytes : this.#services.transport.settings.chunkBytes
    if (file.size <= chunkBytes) return undefined
    const read = new Set<number>()
    const source: ByteSource = opened === undefined ? head() : watched(opened, chunkBytes, read)
    const ranges = await choose(source, { signal }).catch(async (error: unknown) => {
      // No hash covers the bytes of a file that is stored in part: the cached header may be damaged.
      if (!(error instanceof CheckpointError) || !(await this.#deleteDamaged(file.key, read))) throw error
      return choose(head(), { signal })
    })
    if (ranges === null) return undefined
    const chunks = chunksOf(ranges, chunkBytes)
    if (chunks.size === chunkCount(file.size, chunkBytes)) return undefined
    return { chunks, bytes: chunkSum(chunks, file.size, chunkBytes) }
  }

  /** Deletes the chunks among `indexes` that are damaged. Returns whether it deleted one. */
  async #deleteDamaged(key: string, indexes: Iterable<number>): Promise<boolean> {
    let deleted = false
    for (const index of indexes) if (await deleteDamaged(this.#services.store, this.#locks, key, index)) deleted = true
    return deleted
  }

  /** Completes the file in the cache. If another tab is doing so, waits for it first. */
  async #complete(opening: Opening): Promise<CachedSource> {
    const { file, fill, meter, signal, wanted } = opening
    meter.queued()
    const stopFollowing = followProgress(file.key, (shared) => meter.mirror(shared))
    try {
      return await this.#locks.exclusively(downloadLock(file.key), signal, async () => {
        stopFollowing()
        const source = (await this.cached(file, fill)) ?? (wanted && (await this.cached(file, fill, wanted)))
        if (source === undefined) return this.#completeLocked(opening)
        meter.complete()
        return source
      })
    } finally {
      stopFollowing()
    }
  }

  /** Completes the file while this tab holds its download lock. */
  async #completeLocked({ file, fill, meter, signal, wanted, onDownloading }: Opening): Promise<CachedSource> {
    const shared = shareProgress(file.key)
    const early: { file?: DownloadingFile } = {}
    const start = (downloading: DownloadingFile) => {
      early.file = downloading
      onDownloading?.(downloading)
    }
    try {
      meter.also(shared.post)
      // The hash covers the bytes as they arrived. If the user then cleared chunks from the storage, they are fetched again.
      for (let times = 0; times < maxCompletions; times++) {
        await this.#completeOnce({
          file,
          fill,
          meter,
          signal,
          wanted,
          onDownloading: early.file === undefined ? start : undefined,
        })
        const source = await this.cached(file, fill, wanted)
        if (source === undefined) continue
        meter.complete()
        early.file?.complete(source)
        return source
      }
      throw unreadable(file, `${file.path} was stored ${maxCompletions} times and is not in the browser's storage`)
    } catch (error) {
      early.file?.fail(signal.aborted ? abortError(signal) : error)
      throw error
    } finally {
      shared.close()
    }
  }

  #completeOnce(options: Parameters<typeof completeFile>[2]): Promise<void> {
    return completeFile(this.#services, this.#services.transport.settings.chunkBytes, options)
  }

  /** Restores a chunk whose bytes (those of `slice`) cannot be read. `record` is the file's record when it was opened. */
  async #repair(
    { file, fill, record }: { readonly file: StoredFile; readonly fill: Fill; readonly record: FileRecord },
    { index, begin, end }: ChunkSlice,
    options: ReadOptions,
  ): Promise<Blob> {
    const { store } = this.#services
    const signal = options.signal ?? new AbortController().signal
    // The reader may have released the file. Mark it as in use, so that the repair does not evict the file to store its own chunk.
    const release = await this.#inUse.use(file.key)
    try {
      const blob = await this.#locks.exclusively(downloadLock(file.key), signal, async () => {
        if (!isSameContent(file, record, await this.#record(file.key), index)) throw fileChanged(file)
        const stored = await store.chunk(file.key, index)
        if (stored !== undefined && (await readBlob(stored, begin, end)) !== undefined) return stored
        await store.deleteChunks(file.key, [index])
        const meter = new ProgressMeter(file.path, file.size, undefined)
        // If only parts of the file are stored, this fetches only the chunk that is read.
        const wanted = record.state === 'complete' ? undefined : new Set([index])
        await this.#completeOnce({ file, fill, meter, signal, wanted })
        return store.chunk(file.key, index)
      })
      if (blob !== undefined) return blob
    } finally {
      release()
    }
    throw unreadable(file, `The browser's storage lost a chunk of ${file.path} again right after it was downloaded`, index)
  }

  async #record(key: string): Promise<FileRecord | undefined> {
    return asFileRecord(await this.#services.store.record(fileRecordKey(key)))
  }

  async #recordUse(key: string): Promise<void> {
    await this.#services.store.updateRecord(fileRecordKey(key), (old) => {
      const record = asFileRecord(old)
      return record === undefined ? undefined : { ...record, lastUsed: this.#services.now() }
    })
  }
}

/** Whether the content is known to be the same at each request, so that chunks fetched at different times fit together. */
function isFixed(file: StoredFile): boolean {
  return contentName(file) !== undefined
}

/** Wraps a source: each read also adds the indexes of the chunks that it reads to the set `read`. */
function watched(source: ByteSource, chunkBytes: number, read: Set<number>): ByteSource {
  const { byteLength, contentKey } = source
  return {
    byteLength,
    contentKey,
    read: (range, options) => {
      for (const index of chunksOf([range], chunkBytes)) read.add(index)
      return source.read(range, options)
    },
  }
}

function allIndexes(size: number, chunkBytes: number): Set<number> {
  return new Set(Array.from({ length: chunkCount(size, chunkBytes) }, (_, index) => index))
}

/** Whether a stored chunk belongs to the content that was opened: another tab may have stored newer content of the same address. */
function isSameContent(file: StoredFile, opened: FileRecord, now: FileRecord | undefined, index: number): boolean {
  if (!isAddressKey(file.key)) return true
  if (now === undefined) return opened.validator !== undefined
  if (now.size !== opened.size || now.validator !== opened.validator) return false
  return opened.validator !== undefined || now.digests[index] === opened.digests[index]
}

function unreadable({ path }: StoredFile, problem: string, index?: number): StorageError {
  const message = `${problem}. Close other pages that use much storage, then load the model again.`
  return new StorageError('storage-unreadable', message, { path, ...(index === undefined ? {} : { index }) })
}
