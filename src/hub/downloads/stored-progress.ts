/** Finds out how much of a file an earlier download has stored, and whether a new one can resume from it. */

import { StorageError } from '../../errors.js'
import { asFileRecord, fileRecordKey, newFileRecord, type FileRecord } from '../cache/file-record.js'
import type { LayeredStore } from '../cache/layered-store.js'
import { chunkRange } from '../chunk-layout.js'
import { isAddressKey, type StoredFile } from '../stored-file.js'

/** What is stored of a file. */
export interface StoredProgress {
  readonly record: FileRecord
  /** Indexes of the chunks that are stored. */
  readonly present: Set<number>
}

/**
 * The stored record and chunks of a file when a download can resume from them; otherwise deletes them and stores a new record.
 * @param now milliseconds since 1970
 */
export async function openStoredProgress(
  store: LayeredStore,
  file: StoredFile,
  chunkBytes: number,
  now: number,
): Promise<StoredProgress> {
  const stored = await storedRecord(store, file)
  if (stored !== undefined && canResume(stored, file)) return { record: stored, present: await usableChunks(store, file, stored) }
  const record = newFileRecord(file, chunkBytes, now)
  await store.deleteChunks(file.key)
  // Store the record before the first chunk: the cache deletes chunks that have no record.
  await store.putRecord(fileRecordKey(file.key), record)
  return { record, present: new Set() }
}

/** The record of a file. If it cannot be read, the file is downloaded into memory and nothing is deleted: stored chunks may be intact. */
async function storedRecord(store: LayeredStore, { key }: StoredFile): Promise<FileRecord | undefined> {
  try {
    return asFileRecord(await store.recordOrThrow(fileRecordKey(key)))
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    store.isolate(key)
    return undefined
  }
}

/**
 * Whether a download of the file can resume from the chunks that the record describes. If not, it starts over, with the chunk size of the
 * current settings.
 */
export function canResume(stored: FileRecord, file: StoredFile): boolean {
  return stored.provisional !== true && stored.size === file.size && hasSameContent(stored, file)
}

/** Whether stored chunks are known to be of the file's current content. */
export function hasSameContent(stored: FileRecord, { hash, key, validator }: StoredFile): boolean {
  if (hash !== undefined) return true
  // The content at an address may change: a changed validator shows that. In a complete file, each chunk that is downloaded again is also
  // compared with its digest.
  const isDetectable = !isAddressKey(key) || validator !== undefined || stored.state === 'complete'
  return isDetectable && stored.validator === validator
}

/** Indexes of the stored chunks that have the right length. */
async function usableChunks(store: LayeredStore, file: StoredFile, record: FileRecord): Promise<Set<number>> {
  const usable = new Set<number>()
  for (const [index, blob] of await store.chunks(file.key)) {
    const { begin, end } = chunkRange(index, file.size, record.chunkBytes)
    if (index < record.digests.length && blob.size === end - begin) usable.add(index)
  }
  return usable
}
