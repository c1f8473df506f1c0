/** What an answer that is not the wanted bytes means, as an error with a code. Pure: looks at status and headers only. */

import { HubError, type ErrorDetail } from '../../errors.js'
import { stripQuery } from '../names.js'

/** What was asked for, to be named in the error. */
export interface Requested {
  readonly repository: string
  readonly path?: string | undefined
  readonly revision?: string | undefined
}

/** An answer as far as errors care. */
export type Answer = Pick<Response, 'status' | 'url' | 'redirected' | 'headers'>

/** The error that an HTTP status outside 2xx stands for. `wait` in its details is the Retry-After in milliseconds, where readable. */
export function errorForAnswer(answer: Answer, requested: Requested, now: number): HubError {
  const { status } = answer
  const code = answer.headers.get('x-error-code')
  const details: Record<string, ErrorDetail> = { repository: requested.repository, status }
  if (requested.path !== undefined) details['path'] = requested.path
  if (requested.revision !== undefined) details['revision'] = requested.revision
  const at = `${requested.repository}${requested.path === undefined ? '' : `: ${requested.path}`}`
  if (code === 'GatedRepo') {
    const given = status === 403 ? 'this token has no access to it' : 'a token of an account with access is needed'
    return new HubError('gated', `${requested.repository} is gated: ${given}`, details)
  }
  if (code === 'RevisionNotFound') {
    return new HubError(
      'revision-not-found',
      `${requested.repository} has no revision ${JSON.stringify(requested.revision ?? '')}`,
      details,
    )
  }
  if (code === 'EntryNotFound') return fileNotFound(requested, status)
  if (code === 'RepoNotFound' || status === 401) {
    return new HubError(
      'repository-not-found',
      `${requested.repository} does not exist, or is private and needs a token`,
      details,
    )
  }
  if (status === 404 || status === 410) {
    if (requested.path !== undefined) return fileNotFound(requested, status)
    return new HubError('repository-not-found', `${requested.repository} was not found at ${stripQuery(answer.url)}`, details)
  }
  if (status === 403 && answer.redirected) return urlExpired(requested)
  if (status === 403) return new HubError('forbidden', `${at}: the server refuses access (403)`, details)
  if (status === 416) return new HubError('size-mismatch', `${at}: the file is shorter than it is listed (416)`, details)
  const wait = retryAfter(answer.headers.get('retry-after'), now)
  if (wait !== undefined) details['wait'] = wait
  if (status === 429) return new HubError('rate-limited', `${at}: too many requests (429)`, details)
  return new HubError('server-error', `${at}: the server answered ${status}`, details)
}

/** The signed address that the repository redirected to is no longer good. */
export function urlExpired(requested: Requested, cause?: unknown): HubError {
  const path = requested.path ?? ''
  return new HubError(
    'url-expired',
    `${requested.repository}: ${path}: the signed address is not good (403)`,
    { repository: requested.repository, path, status: 403 },
    cause,
  )
}

/** The repository has no such file. */
export function fileNotFound(requested: Requested, status?: number): HubError {
  const path = requested.path ?? ''
  return new HubError('file-not-found', `${requested.repository} has no file ${JSON.stringify(path)}`, {
    repository: requested.repository,
    path,
    ...(status === undefined ? {} : { status }),
  })
}

/** The server's answer is not what its API promises. */
export function badAnswer(requested: Requested, what: string, cause?: unknown): HubError {
  return new HubError(
    'bad-answer',
    `${requested.repository}: the server's answer cannot be used: ${what}`,
    { repository: requested.repository, what },
    cause,
  )
}

/** Other content lies where the file was. */
export function fileChanged({ repository, path = '' }: Requested): HubError {
  return new HubError('file-changed', `${repository}: ${path} was replaced by another file after it had been opened`, { path })
}

/** Milliseconds that a Retry-After header asks for: seconds or a date. */
export function retryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
