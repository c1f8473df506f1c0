/** Deletes files from the cache. A file that any tab has in use is never deleted. */

import { chunkCount, chunkRange } from '../chunk-layout.js'
import { asChunkParts, partLength } from './chunk-parts.js'
import type { ChunkStore } from './chunk-store.js'
import { useLock, type Locks } from './file-locks.js'
import { asFileRecord, fileRecordKey, type FileRecord } from './file-record.js'

const filePrefix = fileRecordKey('')

/** Every file's key and record, in no particular order. */
export async function fileRecords(store: ChunkStore): Promise<[string, FileRecord][]> {
  const found = await store.records(filePrefix)
  return found.flatMap(([key, value]): [string, FileRecord][] => {
    const record = asFileRecord(value)
    return record === undefined ? [] : [[key.slice(filePrefix.length), record]]
  })
}

/** Bytes that are stored under these indexes: of whole chunks, and of the parts of chunks that an aborted download left. */
export function storedBytes(record: FileRecord, indexes: readonly number[]): number {
  const { size, chunkBytes } = record
  const parts = storedParts(record)
  return indexes
    .filter((index) => index < chunkCount(size, chunkBytes))
    .reduce((sum, index) => {
      const { begin, end } = chunkRange(index, size, chunkBytes)
      return sum + (parts.get(index) ?? end - begin)
    }, 0)
}

/** The chunks that are stored in part, by index, with their stored bytes. */
export function storedParts({ size, chunkBytes, parts }: FileRecord): ReadonlyMap<number, number> {
  const found = asChunkParts(parts, (index) => chunkRange(index, size, chunkBytes))
  return new Map(found.map(({ index, ranges }) => [index, partLength(ranges)]))
}

/** Deletes one file. Returns the bytes freed (0 when the file has no record), or undefined when the file is in use. */
export async function deleteFile(store: ChunkStore, locks: Locks, key: string): Promise<number | undefined> {
  return locks.ifFree(useLock(key), async () => {
    const record = asFileRecord(await store.record(fileRecordKey(key)))
    const indexes = await store.chunkIndexes(key)
    // Delete the record first: chunks without a record count as absent.
    await store.deleteRecord(fileRecordKey(key))
    await store.deleteChunks(key)
    return record === undefined ? 0 : storedBytes(record, indexes)
  })
}

/**
 * Deletes the chunks without a record, or, if there are none, the least recently used file that no tab has in use. Returns the bytes freed,
 * as far as known (0 for chunks without a record); undefined when there was nothing to delete.
 */
export async function evictOldest(store: ChunkStore, locks: Locks): Promise<number | undefined> {
  if ((await deleteOrphans(store, locks)) > 0) return 0
  const oldestFirst = (await fileRecords(store)).sort(([, a], [, b]) => a.lastUsed - b.lastUsed)
  for (const [key] of oldestFirst) {
    const freed = await deleteFile(store, locks, key)
    if (freed !== undefined) return freed
  }
  return undefined
}

/** Deletes chunks without a record, which remain when a browser is killed between two writes. Returns the number of files that had such chunks. */
export async function deleteOrphans(store: ChunkStore, locks: Locks): Promise<number> {
  // Read the records after the chunks: a download that begins meanwhile stores its record before its first chunk.
  const files = await store.chunkFiles()
  const known = new Set((await fileRecords(store)).map(([key]) => key))
  let deleted = 0
  for (const key of files) if (!known.has(key) && (await deleteFile(store, locks, key)) !== undefined) deleted++
  return deleted
}
