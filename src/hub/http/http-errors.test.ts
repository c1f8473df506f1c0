import { describe, expect, it } from 'vitest'
import { HubError } from '../../errors.js'
import { errorForAnswer, retryAfter } from './http-errors.js'
import { defaultSettings } from '../settings.js'
import { isTemporary, longestWait, retryDelay, requestedWait } from './retry.js'

const requested = { repository: 'a/b', path: 'c.json', revision: 'main' }
const answer = (status: number, headers: Record<string, string> = {}, redirected = false) => ({
  status,
  url: 'https://x.org/c.json?X-Amz-Signature=secret',
  redirected,
  headers: new Headers(headers),
})
const codeOf = (...args: Parameters<typeof answer>) => errorForAnswer(answer(...args), requested, 0).code

describe('answers', () => {
  it.each([
    [401, { 'x-error-code': 'GatedRepo' }, 'gated'],
    [403, { 'x-error-code': 'GatedRepo' }, 'gated'],
    [401, { 'x-error-code': 'RepoNotFound' }, 'repository-not-found'],
    [404, { 'x-error-code': 'RepoNotFound' }, 'repository-not-found'],
    [404, { 'x-error-code': 'RevisionNotFound' }, 'revision-not-found'],
    [404, { 'x-error-code': 'EntryNotFound' }, 'file-not-found'],
    [401, {}, 'repository-not-found'],
    [404, {}, 'file-not-found'],
    [403, {}, 'forbidden'],
    [416, {}, 'size-mismatch'],
    [429, {}, 'rate-limited'],
    [503, {}, 'server-error'],
    [418, {}, 'server-error'],
  ])('of status %i with the headers %o are the error %s', (status, headers, code) => expect(codeOf(status, headers)).toBe(code))

  it('403 after a redirect: the signed address has expired', () => expect(codeOf(403, {}, true)).toBe('url-expired'))
  it('a 404 without a path is about the repository', () =>
    expect(errorForAnswer(answer(404), { repository: 'a/b' }, 0)).toMatchObject({ code: 'repository-not-found' }))
  it('messages never show a signature', () =>
    expect(JSON.stringify(errorForAnswer(answer(404), { repository: 'a/b' }, 0).message)).not.toContain('secret'))
})

describe('waits', () => {
  it.each([
    ['5', 5000],
    ['0', 0],
    ['Thu, 01 Jan 1970 00:00:07 GMT', 7000],
    ['Thu, 01 Jan 1960 00:00:07 GMT', 0],
    ['soon', undefined],
    [null, undefined],
  ])('are read from the header Retry-After: %s', (header, milliseconds) => expect(retryAfter(header, 0)).toBe(milliseconds))

  it('double up to a limit, and are spread', () => {
    const error = new HubError('network', '')
    const waits = [1, 2, 3, 20].map((tries) => [
      retryDelay(error, tries, defaultSettings, 0),
      retryDelay(error, tries, defaultSettings, 1),
    ])
    expect(waits).toEqual([
      [250, 500],
      [500, 1000],
      [1000, 2000],
      [30_000, 60_000],
    ])
  })

  it('are as long as the server requests, up to a limit', () => {
    expect(retryDelay(new HubError('rate-limited', '', { wait: 7000 }), 1, defaultSettings, 0)).toBe(7000)
    expect(retryDelay(new HubError('rate-limited', '', { wait: 1e12 }), 1, defaultSettings, 0)).toBe(longestWait)
    expect(requestedWait(new HubError('rate-limited', '', { wait: 7000 }))).toBe(7000)
    expect(requestedWait(new HubError('server-error', ''))).toBe(0)
    expect(requestedWait(new HubError('network', ''))).toBeUndefined()
    expect(requestedWait(undefined)).toBeUndefined()
  })

  it('follow temporary failures only', () => {
    expect(
      (['network', 'stalled', 'short-body', 'rate-limited', 'server-error'] as const).every((code) =>
        isTemporary(new HubError(code, '')),
      ),
    ).toBe(true)
    expect(
      (['forbidden', 'file-not-found', 'size-mismatch', 'hash-mismatch'] as const).some((code) =>
        isTemporary(new HubError(code, '')),
      ),
    ).toBe(false)
    expect(isTemporary(new HubError('gated', '', { repository: 'a/b', status: 401 }))).toBe(false)
    expect(isTemporary(new HubError('server-error', '', { status: 501 }))).toBe(false)
    expect(isTemporary(new TypeError('a bug'))).toBe(false)
  })
})
