/** The cache's record of one file, stored beside its chunks, and the check of a record that another version may have written. */

import { chunkCount } from '../chunk-layout.js'
import type { StoredFile } from '../stored-file.js'

/** The version of the format, which increases when the meaning of a record changes. Records of other versions count as absent. */
const version = 1

/** The record of one file. The field names are part of what is stored in users' browsers. */
export interface FileRecord {
  readonly version: typeof version
  /** The path of the file when it was first opened, for display. */
  readonly name: string
  readonly size: number
  readonly chunkBytes: number
  /** `complete` is written once, as the last step: every chunk is stored, and the hash of the file, if one is known, matched. */
  readonly state: 'partial' | 'complete'
  /** Hex sha256 of each chunk when it was stored; an empty string if the record has no digest of the chunk. */
  readonly digests: readonly string[]
  /** The parts that an aborted download left of incomplete chunks; chunk-parts.ts checks them. */
  readonly parts?: unknown
  /**
   * Indexes of the chunks that callers chose when they opened parts of the file. Set once all of these chunks are stored; absent if no
   * caller has opened a part.
   */
  readonly chosen?: readonly number[] | undefined
  /** The state of the whole-file hash after `chunks` chunks, from which hashing resumes. */
  readonly hashed?: { readonly chunks: number; readonly state: Uint8Array } | undefined
  /** Whether the whole file was compared with a hash that its host published. */
  readonly verified: boolean
  readonly validator?: string | undefined
  readonly madeFrom?: readonly string[] | undefined
  /** Set while the file is made from bytes that are not verified yet: another download must not resume from it. */
  readonly provisional?: boolean | undefined
  /** Milliseconds since 1970. */
  readonly lastUsed: number
}

/** A record of a file of which nothing is stored yet. @param now milliseconds since 1970 */
export function newFileRecord(file: StoredFile, chunkBytes: number, now: number): FileRecord {
  const { path: name, size, validator, madeFrom } = file
  const digests = Array.from({ length: chunkCount(size, chunkBytes) }, () => '')
  return { version, name, size, chunkBytes, state: 'partial', digests, verified: false, validator, madeFrom, lastUsed: now }
}

/** `value` as a record, or undefined when this version cannot use it. */
export function asFileRecord(value: unknown): FileRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const record = value as Partial<FileRecord>
  const { size, chunkBytes, digests } = record
  if (record.version !== version || !isCount(size) || !isCount(chunkBytes) || chunkBytes === 0) return undefined
  if (!Array.isArray(digests) || digests.length !== chunkCount(size, chunkBytes)) return undefined
  if (record.state !== 'partial' && record.state !== 'complete') return undefined
  if (record.chosen !== undefined && !(Array.isArray(record.chosen) && record.chosen.every(isCount))) return undefined
  return record as FileRecord
}

/** Whether the whole file was stored, or every chunk of it that callers chose. */
export function wasOpened(record: FileRecord | undefined): record is FileRecord {
  return record?.state === 'complete' || record?.chosen !== undefined
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Key of a file's record. */
export function fileRecordKey(key: string): string {
  return `file ${key}`
}
