/** The cache's record of a repository: its files at one revision, and which of them were opened. */

import { asFileRecord, fileRecordKey, wasOpened } from './file-record.js'
import type { ChunkStore } from './chunk-store.js'
import { isSafePath, isSize } from '../names.js'
import type { RepositoryFile } from '../types.js'

const version = 1

/** A repository at one revision. The field names are part of what is stored in users' browsers. */
export interface RepositoryRecord {
  readonly version: typeof version
  readonly id: string
  /** Base URL of the Hub, or of the files when the host has no API. */
  readonly endpoint: string
  readonly revision: string
  /** The listed files; null when the host has no listing. */
  readonly files: readonly RepositoryFile[] | null
  /** Whether `files` were found by requesting them one by one: the host may have others. */
  readonly probed?: boolean | undefined
  /** Path → key, for files that were opened. */
  readonly opened: Readonly<Record<string, string>>
  /** Path → key, for files whose download began. If it stopped, the stored part still belongs to this repository. */
  readonly begun?: Readonly<Record<string, string>> | undefined
  /** Set when the files did not match each other or the listing: the next opening asks the host instead of using this record. */
  readonly doubted?: boolean | undefined
  /** Milliseconds since 1970. */
  readonly lastUsed: number
}

/** Every repository record's key starts with this. */
export const repositoryPrefix = 'repository '

/** Key of a repository's record. */
export function repositoryKey(endpoint: string, id: string, revision: string): string {
  return `${repositoryPrefix}${endpoint} ${id} ${revision}`
}

/** Key of the record that holds the last known commit of a branch. */
export function branchKey(endpoint: string, id: string, revision: string): string {
  return `branch ${endpoint} ${id} ${revision}`
}

/** A record of a repository of which nothing was opened yet. @param now milliseconds since 1970 */
export function newRepositoryRecord(
  id: string,
  endpoint: string,
  revision: string,
  files: readonly RepositoryFile[] | null,
  now: number,
): RepositoryRecord {
  return { version, id, endpoint, revision, files, opened: {}, lastUsed: now }
}

/** `value` as a record, or undefined when this version cannot use it. */
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

/** Whether the cache has the requested parts of every file that was opened, and nothing requires a revalidation. If so, the repository opens without a request. */
export async function opensFromCache(store: ChunkStore, record: RepositoryRecord): Promise<boolean> {
  if (record.doubted === true) return false
  const keys = Object.values(record.opened)
  for (const key of keys) if (!wasOpened(asFileRecord(await store.record(fileRecordKey(key))))) return false
  return keys.length > 0
}

/** Records the listing that a host has just sent, and ends a required revalidation. The record keeps which files were opened. */
export async function recordListing(store: ChunkStore, fresh: RepositoryRecord): Promise<void> {
  await store.updateRecord(repositoryKey(fresh.endpoint, fresh.id, fresh.revision), (old) => {
    const known = asRepositoryRecord(old)
    return known === undefined ? fresh : { ...fresh, opened: known.opened, begun: known.begun }
  })
}

/** Records that a repository was used, and which files of it. `fresh` is written if the user has cleared the record. */
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

/** Records that the download of a file begins, if that is not recorded yet. */
export async function recordDownloadStart(store: ChunkStore, fresh: RepositoryRecord, path: string, key: string): Promise<void> {
  const name = repositoryKey(fresh.endpoint, fresh.id, fresh.revision)
  const known = asRepositoryRecord(await store.record(name))
  if (known?.opened[path] === key || known?.begun?.[path] === key) return
  await store.updateRecord(name, (old) => {
    const record = asRepositoryRecord(old) ?? fresh
    return { ...record, begun: { ...record.begun, [path]: key } }
  })
}

/** Records that a file was deleted on purpose, so that the repository still counts as complete without it. */
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

/** Records that the next opening has to ask the host, because the repository's files did not match. */
export async function requireRevalidation(store: ChunkStore, key: string): Promise<void> {
  await store.updateRecord(key, (old) => {
    const record = asRepositoryRecord(old)
    return record === undefined ? undefined : { ...record, doubted: true }
  })
}
