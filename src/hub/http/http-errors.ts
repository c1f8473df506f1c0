/** Turns an answer that does not hold the requested bytes into an error with a code. Pure: it does not read the body. */

import { HubError, isAquatintError, type ErrorDetail } from '../../errors.js'
import { parseContentRange } from '../chunk-layout.js'
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
  const details: Record<string, ErrorDetail> & { repository: string; status: number } = { repository, status }
  if (requested.path !== undefined) details['path'] = requested.path
  if (requested.revision !== undefined) details['revision'] = requested.revision
  const what = nameOf(requested)
  const reason = reasonOf(answer.headers)
  if (code === 'GatedRepo') {
    const page = `${new URL(answer.url).origin}/${repository}`
    const advice =
      status === 403
        ? `the account of this access token has no access to it. Request access on its page, ${page}.`
        : `accept its conditions on its page, ${page}, and pass the access token of that account.`
    return new HubError('gated', `${repository} is gated: ${advice}`, details)
  }
  if (code === 'RevisionNotFound') {
    const revision = JSON.stringify(requested.revision ?? '')
    return new HubError('revision-not-found', `${repository} has no branch, tag or commit ${revision}.`, details)
  }
  if (code === 'EntryNotFound') return fileNotFound(requested, status)
  // These are the Hub's messages about a token that it does not accept.
  if (status === 401 && /invalid credentials|invalid (?:user )?access token|expired/i.test(reason)) {
    const message = `${what}: the server rejected the access token (${reason}). Create a token on the Hub's settings page, and copy it as a whole.`
    return new HubError('forbidden', message, details)
  }
  // A repository that is named by its URL is not on the Hub, and only the Hub accepts tokens.
  if (status === 401 && URL.canParse(repository)) {
    const message = `${what}: the server asks for a user name and a password (status 401), and Aquatint sends none. Make the files public, or let the user choose the folder.`
    return new HubError('forbidden', message, details)
  }
  if (code === 'RepoNotFound' || status === 401) {
    const message = `${repository} does not exist, or it is private and needs an access token.`
    return new HubError('repository-not-found', message, details)
  }
  if (status === 404 || status === 410) {
    if (requested.path !== undefined) return fileNotFound(requested, status)
    return new HubError('repository-not-found', `${repository} was not found at ${stripQuery(answer.url)}.`, details)
  }
  if (status === 403 && answer.redirected) return urlExpired(requested)
  if (status === 403 || status === 402 || status === 407 || status === 451) {
    const why = reason === '' ? 'no reason was given' : reason
    const advice = denials[status]
    return new HubError('forbidden', `${what}: the server denied access (status ${status}): ${why}. ${advice}.`, details)
  }
  if (status === 416) {
    return new HubError(
      'size-mismatch',
      `${what}: the file is shorter than its listing says (status 416)${shorter(answer.headers, details)}.`,
      details,
    )
  }
  const wait = retryAfter(answer.headers.get('retry-after'), now)
  if (wait !== undefined) details['wait'] = wait
  if (status === 429) {
    return new HubError('rate-limited', `${what}: the server received too many requests (status 429). Try again later.`, details)
  }
  const why = reason === '' ? '' : ` (${reason})`
  const advice = status >= 500 ? 'Try again later' : 'Check the address of the model, and the endpoint'
  return new HubError('server-error', `${what}: the server answered with status ${status}${why}. ${advice}.`, details)
}

/** The last sentence of the message for a status that denies access: advice, or the reason. */
const denials: Readonly<Record<number, string>> = {
  402: 'The server asks for a payment',
  403: 'Check the access token and its permissions, and that the files are public',
  407: 'Log in to the proxy of this network',
  451: 'It is not available for legal reasons',
}

/** The reason that the Hub gives in words, without a full stop; '' where it gives none. */
function reasonOf(headers: Headers): string {
  const text = headers.get('x-error-message') ?? ''
  const plain = text
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .replace(/\.$/, '')
  return plain.length > 300 ? `${plain.slice(0, 300)}…` : plain
}

/** The end of a sentence with the size that a 416 answer states, '' if it states none. Also puts the size into `details`. */
function shorter(headers: Headers, details: Record<string, ErrorDetail>): string {
  const { total } = parseContentRange(headers.get('content-range') ?? '') ?? {}
  if (total === undefined) return ''
  details['actual'] = total
  return total < 200 ? `: it has ${total} bytes, as Git LFS pointers do` : `: it has ${total} bytes`
}

/** Codes of the errors after which cached files are used instead: the host did not answer, or the page could not read its answer. */
export const unreachableCodes = ['network', 'stalled', 'cors', 'blocked-by-page'] as const

/** The signed address that the repository redirected to is no longer valid. */
export function urlExpired(requested: Requested, cause?: unknown): HubError {
  const { repository, path = '' } = requested
  const message = `${nameOf(requested)}: the server rejected the signed download address (status 403). Try again later.`
  return new HubError('url-expired', message, { repository, path, status: 403 }, cause)
}

/** Whether a server denied access with status 403: to the file, or to a range of it. */
export function isForbidden(error: unknown): boolean {
  return isAquatintError(error, 'forbidden', 'url-expired') && error.details['status'] === 403
}

/** The repository has no such file. */
export function fileNotFound({ repository, path = '' }: Requested, status?: number): HubError {
  const details = { repository, path, ...(status === undefined ? {} : { status }) }
  const page = status === 200 ? ' The server answers its address with an HTML page.' : ''
  return new HubError('file-not-found', `${repository} has no file ${JSON.stringify(path)}.${page}`, details)
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
