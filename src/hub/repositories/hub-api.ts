/** The two calls of the Hub's API that Aquatint needs: the commit of a revision, and the files of a commit. */

import { fetchJson, maxAnswerBytes } from '../http/fetch-json.js'
import { badAnswer } from '../http/http-errors.js'
import { maxFiles, parseTree, sortFiles } from './listing.js'
import { encodePath, isCommit } from '../names.js'
import type { Transport } from '../http/transport.js'
import type { RepositoryFile } from '../types.js'

/** The most pages that one listing may have. */
const maxPages = 100

/** A repository on a Hub. */
export interface HubAddress {
  /** Base URL with a slash at its end. */
  readonly endpoint: string
  readonly id: string
}

/** The headers that carry an access token. */
export function tokenHeaders(token: string | undefined): Record<string, string> {
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` }
}

/** The address of a file at a commit. */
export function resolveUrl({ endpoint, id }: HubAddress, commit: string, path: string): string {
  return `${endpoint}${encodePath(id)}/resolve/${commit}/${encodePath(path)}`
}

/** A call of the Hub's API about one repository. */
export interface HubCall extends HubAddress {
  /** A branch, tag, pull request or commit. */
  readonly revision: string
  readonly token: string | undefined
  readonly signal: AbortSignal
}

/** The commit of the call's revision. @throws HubError `repository-not-found`, `revision-not-found`, `gated` … */
export async function fetchCommit(transport: Transport, { endpoint, id, revision, token, signal }: HubCall): Promise<string> {
  const requested = { repository: id, revision }
  const url = `${endpoint}api/models/${encodePath(id)}/revision/${encodeURIComponent(revision)}`
  const { value } = await fetchJson(transport, { url, headers: tokenHeaders(token), requested, signal })
  const sha = typeof value === 'object' && value !== null ? (value as { sha?: unknown }).sha : undefined
  if (typeof sha !== 'string' || !isCommit(sha)) throw badAnswer(requested, 'it names no commit')
  return sha
}

/**
 * Every file of the call's revision, which must be a commit: sorted by path, with the hashes that the Hub publishes.
 * @throws HubError as {@link fetchCommit}
 */
export async function fetchTree(
  transport: Transport,
  { endpoint, id, revision: commit, token, signal }: HubCall,
): Promise<RepositoryFile[]> {
  const requested = { repository: id, revision: commit }
  const files: RepositoryFile[] = []
  let bytes = 0
  let next: string | undefined = `${endpoint}api/models/${encodePath(id)}/tree/${commit}?recursive=true`
  for (let page = 0; next !== undefined; page++) {
    if (page >= maxPages || files.length > maxFiles || bytes > maxAnswerBytes)
      throw badAnswer(requested, `the listing is longer than ${maxFiles} files, ${maxPages} pages or ${maxAnswerBytes} bytes`)
    const answer = await fetchJson(transport, { url: next, headers: tokenHeaders(token), requested, signal })
    bytes += answer.bytes
    files.push(...parseTree(answer.value, requested))
    next = nextPage(answer.headers.get('link'), next)
    // The access token must go to no other host than the endpoint.
    if (next !== undefined && new URL(next).origin !== new URL(endpoint).origin)
      throw badAnswer(requested, 'the next page of the listing is on another host')
  }
  return sortFiles(files)
}

/** The address of the next page, from a Link header. */
function nextPage(link: string | null, current: string): string | undefined {
  for (const part of link?.split(',') ?? []) {
    const match = /<([^>]+)>\s*;(?:.*;)?\s*rel="?next"?/.exec(part)
    if (match?.[1] !== undefined && URL.canParse(match[1], current)) return new URL(match[1], current).href
  }
  return undefined
}
