/** The two calls of the Hub's API that Aquatint needs: which commit a revision stands at, and what files a commit has. */

import { badAnswer, fetchJson } from './fetch-json.js'
import { isSize } from './file-size.js'
import { encodePath, isCommit, isSafePath } from './names.js'
import type { Network } from './piece-fetch.js'
import type { RepositoryFile } from './types.js'

/** Limits on a listing. The largest repositories of diffusers checkpoints have a few hundred files. */
const maxPages = 100
const maxFiles = 100_000

/** A repository of one endpoint. */
export interface HubAddress {
  /** Base URL with a slash at its end. */
  readonly endpoint: string
  readonly id: string
}

/** The headers that carry a token. */
export function tokenHeaders(token: string | undefined): Record<string, string> {
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` }
}

/** The address of a file at a commit. */
export function resolveUrl({ endpoint, id }: HubAddress, commit: string, path: string): string {
  return `${endpoint}${encodePath(id)}/resolve/${commit}/${encodePath(path)}`
}

/** The commit that a branch, tag or pull request stands at. @throws HubError `repository-not-found`, `revision-not-found`, `gated` … */
export async function fetchCommit(
  network: Network,
  { endpoint, id }: HubAddress,
  revision: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const asked = { repository: id, revision }
  const url = `${endpoint}api/models/${encodePath(id)}/revision/${encodeURIComponent(revision)}`
  const { value } = await fetchJson(network, url, tokenHeaders(token), asked, signal)
  const sha = typeof value === 'object' && value !== null ? (value as { sha?: unknown }).sha : undefined
  if (typeof sha !== 'string' || !isCommit(sha)) throw badAnswer(asked, 'no commit in it')
  return sha
}

/** Every file of a commit, sorted by path, with the hashes that the Hub has. @throws HubError as {@link fetchCommit} */
export async function fetchTree(
  network: Network,
  { endpoint, id }: HubAddress,
  commit: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<RepositoryFile[]> {
  const asked = { repository: id, revision: commit }
  const files: RepositoryFile[] = []
  let next: string | undefined = `${endpoint}api/models/${encodePath(id)}/tree/${commit}?recursive=true`
  for (let page = 0; next !== undefined; page++) {
    if (page >= maxPages || files.length > maxFiles) throw badAnswer(asked, 'the listing does not end')
    const { value, headers } = await fetchJson(network, next, tokenHeaders(token), asked, signal)
    if (!Array.isArray(value)) throw badAnswer(asked, 'the listing is no list')
    for (const entry of value as unknown[]) {
      const file = parseEntry(entry)
      if (file === undefined) throw badAnswer(asked, 'a file of the listing has no sound path and size')
      if (file !== null) files.push(file)
    }
    next = nextPage(headers.get('link'), next)
    // The token goes to the endpoint it was given for.
    if (next !== undefined && new URL(next).origin !== new URL(endpoint).origin)
      throw badAnswer(asked, 'the listing goes on at another host')
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** A file, null for a folder, undefined for what is neither. */
function parseEntry(entry: unknown): RepositoryFile | null | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  const { type, path, size, oid, lfs } = entry as Partial<Record<'type' | 'path' | 'size' | 'oid' | 'lfs', unknown>>
  if (type !== 'file') return null
  if (typeof path !== 'string' || !isSafePath(path) || !isSize(size)) return undefined
  if (typeof lfs === 'object' && lfs !== null) {
    const { oid: hash, size: whole } = lfs as { oid?: unknown; size?: unknown }
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash) || !isSize(whole)) return undefined
    return { path, size: whole, sha256: hash }
  }
  return typeof oid === 'string' && isCommit(oid) ? { path, size, gitOid: oid } : { path, size }
}

function nextPage(link: string | null, current: string): string | undefined {
  for (const part of link?.split(',') ?? []) {
    const match = /<([^>]+)>\s*;(?:.*;)?\s*rel="?next"?/.exec(part)
    if (match?.[1] !== undefined && URL.canParse(match[1], current)) return new URL(match[1], current).href
  }
  return undefined
}
