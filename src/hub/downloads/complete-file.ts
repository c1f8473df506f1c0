/**
 * Completes one file in the store: gets its missing chunks, and compares the whole file with its hash. If the bytes turn out wrong, it
 * starts over once; if they are wrong again, it throws.
 */

import { isAquatintError } from '../../errors.js'
import { fileRecordKey } from '../cache/file-record.js'
import type { StoredFile } from '../stored-file.js'
import { ChunkWriter } from './chunk-writer.js'
import type { DownloadServices, Fill } from './download-services.js'
import { DownloadingFile, downloadRestarted } from './downloading-file.js'
import type { ProgressMeter } from './progress-meter.js'

/**
 * Failures after which all chunks are deleted, unless the file was complete before. The missing chunks are then fetched once more, but not
 * after `file-changed`.
 */
const restartsDownload = new Set(['hash-mismatch', 'file-changed', 'download-restarted'])
/** Failures after which the download resumes from the stored chunks, once. */
const resumesDownload = new Set(['chunk-lost', 'hash-thread-lost'])

/** The file to complete, and where to report its progress. */
export interface CompleteFileOptions {
  readonly file: StoredFile
  readonly fill: Fill
  readonly meter: ProgressMeter
  readonly signal: AbortSignal
  /** Indexes of the chunks to get. Default: all. */
  readonly wanted?: ReadonlySet<number> | undefined
  /** Receives the file while it is being downloaded. The caller calls its `complete` or `fail` when {@link completeFile} settles. */
  readonly onDownloading?: ((file: DownloadingFile) => void) | undefined
}

/**
 * Resolves when every wanted chunk of the file is stored and its record says so.
 * @throws HubError, StorageError, AbortError
 */
export async function completeFile(
  services: Omit<DownloadServices, 'transport' | 'memory'>,
  chunkBytes: number,
  { file, fill, meter, signal, wanted, onDownloading }: CompleteFileOptions,
): Promise<void> {
  const { store, createHasher, copyMemory, now } = services
  let downloading: DownloadingFile | undefined
  for (let isRetry = false; ; isRetry = true) {
    let writer: ChunkWriter | undefined
    try {
      writer = await ChunkWriter.open({ store, file, chunkBytes, wanted, now: now(), createHasher, copyMemory })
      if (onDownloading !== undefined && !isRetry) {
        const early = new DownloadingFile(store, file, writer.chunkBytes, writer.present)
        writer.onStored = (index) => early.stored(index)
        downloading = early
        onDownloading(early)
      }
      meter.begin(writer.bytesPresent)
      await fill(writer, meter, signal)
      await writer.finish(now(), () => meter.verifying())
      return
    } catch (error) {
      if (!isAquatintError(error)) throw error
      const restarts = restartsDownload.has(error.code)
      if (!restarts && !resumesDownload.has(error.code)) throw error
      downloading?.fail(downloadRestarted(file))
      // After wrong bytes any chunk may be wrong, except in a file that was complete before. A chunk that the storage lost needs no deletion: the writer has deleted it.
      if (restarts && writer?.isRepairing !== true) {
        await store.deleteRecord(fileRecordKey(file.key))
        await store.deleteChunks(file.key)
      }
      // The address has other content now, which may have another size: the caller has to ask the server again.
      if (isRetry || error.code === 'file-changed') throw error
    } finally {
      writer?.close()
    }
  }
}
