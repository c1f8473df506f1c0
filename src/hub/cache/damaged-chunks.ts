/** Finds stored chunks whose bytes are no longer those that arrived, and deletes them. */

import type { ChunkStore } from './chunk-store.js'
import { sha256Hex } from './file-hasher.js'
import { downloadLock, type Locks } from './file-locks.js'
import { asFileRecord, fileRecordKey } from './file-record.js'

/** Whether a chunk matches its digest, or has none; undefined when the chunk or the record of its file is not stored. */
export async function isIntact(store: ChunkStore, key: string, index: number): Promise<boolean | undefined> {
  const blob = await store.chunk(key, index)
  const record = asFileRecord(await store.record(fileRecordKey(key)))
  if (blob === undefined || record === undefined) return undefined
  const digest = record.digests[index]
  return digest === '' || digest === (await digestOf(blob))
}

/**
 * Deletes a chunk if no tab is downloading its file and the chunk is still damaged: another tab may have replaced the file. Returns whether
 * it deleted the chunk.
 */
export async function deleteDamaged(store: ChunkStore, locks: Locks, key: string, index: number): Promise<boolean> {
  const deleted = await locks.ifFree(downloadLock(key), async () => {
    if ((await isIntact(store, key, index)) !== false) return false
    await store.deleteChunks(key, [index])
    return true
  })
  return deleted === true
}

/** Hex sha256 of a Blob; undefined when it cannot be read. */
async function digestOf(blob: Blob): Promise<string | undefined> {
  try {
    return await sha256Hex(new Uint8Array(await blob.arrayBuffer()))
  } catch {
    return undefined
  }
}
