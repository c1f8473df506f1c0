/** Turns an answer that does not hold the requested bytes into an error with a code. Pure: it reads the status and the headers only. */

import { HubError, type ErrorDetail } from '../../errors.js'
import { stripQuery } from '../names.js'

/** What was requested, for the error's message and details. */
export interface Requested {
  readonly repository: string
  readonly path?: string | undefined
  readonly revision?: string | undefined
}

/** The parts of a Response that decide the error. */
export type Answer = Pick<Response, 'status' | 'url' | 'redirected' | 'headers'>

/**
 * The error for an HTTP status outside 2xx. `details.wait` is the answer's Retry-After in milliseconds, when it can be read.
 * @param now milliseconds since 1970, for a Retry-After that is a date
 */
export function errorForAnswer(answer: Answer, requested: Requested, now: number): HubError {
  const { status } = answer
  const code = answer.headers.get('x-error-code')
  const { repository } = requested
  const details: Record<string, ErrorDetail> = { repository, status }
  if (requested.path !== undefined) details['path'] = requested.path
  if (requested.revision !== undefined) details['revision'] = requested.revision
  const what = nameOf(requested)
  if (code === 'GatedRepo') {
    const advice =
      status === 403
        ? 'the account of this access token has no access to it. Request access on its page on the Hub.'
        : 'pass the access token of an account that has access to it.'
    return new HubError('gated', `${repository} is gated: ${advice}`, details)
  }
  if (code === 'RevisionNotFound') {
    const revision = JSON.stringify(requested.revision ?? '')
    return new HubError('revision-not-found', `${repository} has no branch, tag or commit ${revision}.`, details)
  }
  if (code === 'EntryNotFound') return fileNotFound(requested, status)
  if (code === 'RepoNotFound' || status === 401) {
    const message = `${repository} does not exist, or it is private and needs an access token.`
    return new HubError('repository-not-found', message, details)
  }
  if (status === 404 || status === 410) {
    if (requested.path !== undefined) return fileNotFound(requested, status)
    return new HubError('repository-not-found', `${repository} was not found at ${stripQuery(answer.url)}.`, details)
  }
  if (status === 403 && answer.redirected) return urlExpired(requested)
  if (status === 403) return new HubError('forbidden', `${what}: the server denied access (status 403).`, details)
  if (status === 416) {
    return new HubError('size-mismatch', `${what}: the file is shorter than its listing says (status 416).`, details)
  }
  const wait = retryAfter(answer.headers.get('retry-after'), now)
  if (wait !== undefined) details['wait'] = wait
  if (status === 429) {
    return new HubError('rate-limited', `${what}: the server received too many requests (status 429). Try again later.`, details)
  }
  return new HubError('server-error', `${what}: the server answered with status ${status}. Try again later.`, details)
}

/** The signed address that the repository redirected to is no longer valid. */
export function urlExpired(requested: Requested, cause?: unknown): HubError {
  const { repository, path = '' } = requested
  const message = `${nameOf(requested)}: the server rejected the signed download address (status 403). Try again later.`
  return new HubError('url-expired', message, { repository, path, status: 403 }, cause)
}

/** The repository has no such file. */
export function fileNotFound({ repository, path = '' }: Requested, status?: number): HubError {
  const details = { repository, path, ...(status === undefined ? {} : { status }) }
  return new HubError('file-not-found', `${repository} has no file ${JSON.stringify(path)}.`, details)
}

/** The server's answer is not what its API promises. @param what completes the sentence "the server's answer cannot be used: …" */
export function badAnswer({ repository }: Requested, what: string, cause?: unknown): HubError {
  const message = `${repository}: the server's answer cannot be used: ${what}.`
  return new HubError('bad-answer', message, { repository, what }, cause)
}

/** The server now sends other content at the file's address. */
export function fileChanged(requested: Requested): HubError {
  const message = `${nameOf(requested)}: the file was replaced on the server after it had been opened. Load the model again.`
  return new HubError('file-changed', message, { path: requested.path ?? '' })
}

/** `repository: path`, or the repository alone. */
export function nameOf({ repository, path }: Requested): string {
  return path === undefined ? repository : `${repository}: ${path}`
}

/** Milliseconds that a Retry-After header requests, which is a number of seconds or a date. Undefined when it is neither. */
export function retryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
