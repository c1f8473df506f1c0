/** Parses the listings of repositories: pages of the Hub's tree API, and files.json. */

import { badAnswer, type Requested } from '../http/http-errors.js'
import { isCommit, isSafePath, isSize } from '../names.js'
import type { RepositoryFile } from '../types.js'

/** The most files of one listing. The largest repositories of diffusers checkpoints have a few hundred. */
export const maxFiles = 20_000

/** Name of the file that lists a repository on a host without an API. */
export const listingName = 'files.json'

/**
 * The files of one page of the tree API, with the hashes that the Hub publishes, without folders. A file whose path leads out of the repository or
 * cannot be requested is left out: no checkpoint needs it. @throws HubError `bad-answer`
 */
export function parseTree(value: unknown, requested: Requested): RepositoryFile[] {
  if (!Array.isArray(value)) throw badAnswer(requested, 'the listing is not an array')
  return (value as unknown[]).flatMap((entry) => {
    const file = parseEntry(entry)
    if (file === undefined) throw badAnswer(requested, 'an entry of the listing has no valid path or size')
    return file ?? []
  })
}

/** A file; null for a folder and for a file that cannot be requested, undefined for an invalid entry. */
function parseEntry(entry: unknown): RepositoryFile | null | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  const { type, path, size, oid, lfs } = entry as Partial<Record<'type' | 'path' | 'size' | 'oid' | 'lfs', unknown>>
  if (type !== 'file') return null
  if (typeof path !== 'string') return undefined
  if (!isSafePath(path)) return null
  if (!isSize(size)) return undefined
  if (typeof lfs === 'object' && lfs !== null) {
    const { oid: hash, size: whole } = lfs as { oid?: unknown; size?: unknown }
    if (typeof hash !== 'string' || !isSha256(hash) || !isSize(whole)) return undefined
    return { path, size: whole, sha256: hash }
  }
  return typeof oid === 'string' && isCommit(oid) ? { path, size, gitOid: oid } : { path, size }
}

/**
 * The files of an object `{"files": [{"path", "size", "sha256"}]}`, sorted by path, without those that cannot be requested.
 * @throws HubError `bad-answer`
 */
export function parseFilesJson(value: unknown, requested: Requested): RepositoryFile[] {
  const list: unknown = typeof value === 'object' && value !== null ? (value as { files?: unknown }).files : undefined
  if (!Array.isArray(list) || list.length > maxFiles)
    throw badAnswer(requested, `${listingName} has no array "files" of at most ${maxFiles} entries`)
  return sortFiles(
    (list as unknown[]).flatMap((entry) => {
      const { path, size, sha256 } = (typeof entry === 'object' && entry !== null ? entry : {}) as Partial<
        Record<keyof RepositoryFile, unknown>
      >
      const hash = typeof sha256 === 'string' && isSha256(sha256) ? sha256 : undefined
      if (typeof path === 'string' && !isSafePath(path)) return []
      if (typeof path !== 'string' || !isSize(size) || (sha256 !== undefined && hash === undefined)) {
        throw badAnswer(requested, `an entry of ${listingName} has no valid path, size or sha256`)
      }
      return { path, size, sha256: hash }
    }),
  )
}

/** Sorts a list by path, in place. */
export function sortFiles(files: RepositoryFile[]): RepositoryFile[] {
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

function isSha256(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text)
}
