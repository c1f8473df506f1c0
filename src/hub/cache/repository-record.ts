/** What the cache remembers about a repository: its listing at one revision, and which of its files were opened. */

import { asFileRecord, fileRecordKey } from './file-record.js'
import type { ChunkStore } from './chunk-store.js'
import { isSafePath, isSize } from '../names.js'
import type { RepositoryFile } from '../types.js'

const version = 1

export interface RepositoryRecord {
  readonly version: typeof version
  readonly id: string
  /** Base URL of the Hub, or of the files where there is no API. */
  readonly endpoint: string
  readonly revision: string
  /** Null where the host has no listing. */
  readonly files: readonly RepositoryFile[] | null
  /** `files` are those that were found by asking: the host may have others. */
  readonly probed?: boolean | undefined
  /** Path → key of the content, for files that were opened. */
  readonly opened: Readonly<Record<string, string>>
  /** The same for files whose download began: it may have been stopped, and what is stored of them is this repository's too. */
  readonly begun?: Readonly<Record<string, string>> | undefined
  /** What was read did not fit together: the next opening goes by the host, not by this. */
  readonly doubted?: boolean | undefined
  /** Milliseconds since 1970. */
  readonly lastUsed: number
}

export const repositoryPrefix = 'repository '

/** Key of a repository's record. */
export function repositoryKey(endpoint: string, id: string, revision: string): string {
  return `${repositoryPrefix}${endpoint} ${id} ${revision}`
}

/** Key of the commit that a branch was last seen at. */
export function branchKey(endpoint: string, id: string, revision: string): string {
  return `branch ${endpoint} ${id} ${revision}`
}

export function newRepositoryRecord(
  id: string,
  endpoint: string,
  revision: string,
  files: readonly RepositoryFile[] | null,
  now: number,
): RepositoryRecord {
  return { version, id, endpoint, revision, files, opened: {}, lastUsed: now }
}

/** The record when `value` is one that this version can go by. */
export function asRepositoryRecord(value: unknown): RepositoryRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const record = value as Partial<RepositoryRecord>
  if (record.version !== version || typeof record.id !== 'string' || typeof record.endpoint !== 'string') return undefined
  if (record.files !== null && !(Array.isArray(record.files) && record.files.every(isFile))) return undefined
  return typeof record.opened === 'object' ? (record as RepositoryRecord) : undefined
}

function isFile(value: unknown): boolean {
  const file = value as RepositoryFile
  return typeof file.path === 'string' && isSafePath(file.path) && isSize(file.size)
}

/** Whether something was opened, all of it is complete and none of it in doubt: then nothing needs the network. */
export async function isComplete(store: ChunkStore, record: RepositoryRecord): Promise<boolean> {
  if (record.doubted === true) return false
  const keys = Object.values(record.opened)
  for (const key of keys) if (asFileRecord(await store.record(fileRecordKey(key)))?.state !== 'complete') return false
  return keys.length > 0
}

/** Notes a repository as its host has just told of it: nothing of it is in doubt. What was opened of it before stays known. */
export async function recordListing(store: ChunkStore, fresh: RepositoryRecord): Promise<void> {
  await store.updateRecord(repositoryKey(fresh.endpoint, fresh.id, fresh.revision), (old) => {
    const known = asRepositoryRecord(old)
    return known === undefined ? fresh : { ...fresh, opened: known.opened, begun: known.begun }
  })
}

/** Notes that a repository was used, and which file of it. `fresh` is written where the record is gone: users may clear storage at any time. */
export async function recordUse(
  store: ChunkStore,
  fresh: RepositoryRecord,
  opened: Readonly<Record<string, string>> = {},
): Promise<void> {
  await store.updateRecord(repositoryKey(fresh.endpoint, fresh.id, fresh.revision), (old) => {
    const record = asRepositoryRecord(old) ?? fresh
    return { ...record, lastUsed: fresh.lastUsed, opened: { ...record.opened, ...opened } }
  })
}

/** Notes that a file's download begins, where it is not known already. */
export async function recordDownloadStart(store: ChunkStore, fresh: RepositoryRecord, path: string, key: string): Promise<void> {
  const name = repositoryKey(fresh.endpoint, fresh.id, fresh.revision)
  const known = asRepositoryRecord(await store.record(name))
  if (known?.opened[path] === key || known?.begun?.[path] === key) return
  await store.updateRecord(name, (old) => {
    const record = asRepositoryRecord(old) ?? fresh
    return { ...record, begun: { ...record.begun, [path]: key } }
  })
}

/** Notes that a file was given up on purpose: what is left of the repository can still be all that is used of it. */
export async function recordRemoval(store: ChunkStore, key: string, path: string): Promise<void> {
  await store.updateRecord(key, (old) => {
    const record = asRepositoryRecord(old)
    if (record === undefined) return undefined
    return { ...record, opened: without(path, record.opened), begun: without(path, record.begun ?? {}) }
  })
}

function without(path: string, paths: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(paths).filter(([other]) => other !== path))
}

/** Notes that a repository's files did not fit together. */
export async function requireRevalidation(store: ChunkStore, key: string): Promise<void> {
  await store.updateRecord(key, (old) => {
    const record = asRepositoryRecord(old)
    return record === undefined ? undefined : { ...record, doubted: true }
  })
}
