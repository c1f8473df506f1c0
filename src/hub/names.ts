/** Checks repository ids, revisions, paths in a repository and base URLs, which may be untrusted. Pure. */

import { HubError, InputError } from '../errors.js'

const word = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/

/** Whether `id` is a Hub repository id: `owner/name`. */
export function isRepositoryId(id: string): boolean {
  const parts = id.split('/')
  return parts.length === 2 && parts.every((part) => word.test(part) && !part.includes('..') && !part.includes('--'))
}

/** Whether `revision` is a commit hash, whose files never change. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

/** Checks a branch, tag or commit by git's rules for names. @throws InputError `bad-revision` */
export function checkRevision(revision: string): string {
  const bad =
    revision === '' ||
    revision.length > 255 ||
    !revision.isWellFormed() ||
    /[\s~^:?*[\\\p{Cc}]|\.\.|^[-/.]|[/.]$|\/\/|@\{/u.test(revision)
  if (!bad) return revision
  throw new InputError('bad-revision', `${shown(revision)} is not a valid name of a branch, tag or commit.`, {
    revision: cut(revision),
  })
}

/** Whether `path` stays inside its repository however often it is percent-decoded. */
export function isSafePath(path: string): boolean {
  let decoded = path
  for (let round = 0; round < 5; round++) {
    if (!isPlainPath(decoded)) return false
    let next: string
    try {
      next = decodeURIComponent(decoded)
    } catch {
      // A percent sign that encodes nothing is an ordinary character of a file name.
      return true
    }
    if (next === decoded) return true
    decoded = next
  }
  return false
}

function isPlainPath(path: string): boolean {
  if (
    path === '' ||
    path.length > 1024 ||
    !path.isWellFormed() ||
    /[\\\p{Cc}]/u.test(path) ||
    /^[A-Za-z][A-Za-z0-9+.-]*:/.test(path)
  )
    return false
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

/** Checks a path. @throws HubError `bad-path` */
export function checkPath(path: string): string {
  if (isSafePath(path)) return path
  throw new HubError('bad-path', `${shown(path)} is not a path inside a repository.`, { path: cut(path) })
}

/** `path` with each part percent-encoded, for a URL. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

/** An absolute http(s) URL that ends in `/`, without query and fragment. Rejects credentials. @throws InputError `bad-url` */
export function checkBaseUrl(value: string, base?: string): string {
  const url = URL.canParse(value, base) ? new URL(value, base) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new InputError('bad-url', `${shown(value)} is not an http or https URL, or it contains a user name or password.`, {
      url: cut(stripQuery(value)),
    })
  }
  url.search = ''
  url.hash = ''
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url.href
}

/** A URL for display: without query, fragment and user, which may contain signatures, tokens and passwords. */
export function stripQuery(url: string): string {
  return url.replace(/[?#].*$/s, '').replace(/\/\/[^/@]*@/, '//…@')
}

function cut(value: string): string {
  return value.length > 200 ? `${value.slice(0, 200)}…` : value
}

function shown(value: string): string {
  return JSON.stringify(cut(stripQuery(value)))
}

/** The longest file: 16 TiB. A file's record grows with its number of chunks, which is about a million at this size. */
const maxSize = 2 ** 44

/** Whether `value` is a valid length of a file in bytes. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxSize
}

/** @throws HubError `file-too-large` when a file has more bytes than its reader accepts */
export function checkMaxBytes(path: string, size: number, maxBytes: number | undefined): void {
  if (maxBytes === undefined || size <= maxBytes) return
  throw new HubError('file-too-large', `${path} is ${size} bytes long; at most ${maxBytes} are read.`, { path, size, maxBytes })
}
