import { describe, expect, it } from 'vitest'
import { checkBaseUrl, checkPath, checkRevision, encodePath, isRepositoryId, isSafePath, stripQuery } from './names.js'

describe('repository ids', () => {
  it.each(['stabilityai/stable-diffusion-xl-base-1.0', 'a/b', 'A_b/c_d.e'])('may be %s', (id) =>
    expect(isRepositoryId(id)).toBe(true),
  )
  it.each([
    '',
    'gpt2',
    'x/_',
    '/',
    'a/',
    '/a',
    'a/b/c',
    '../a',
    'a/..',
    'a/b..c',
    'a/b--c',
    '.a/b',
    'a/b-',
    'a b/c',
    'a/b?x',
    'a/%2e%2e',
    'ä/b',
    `a/${'b'.repeat(97)}`,
  ])('may not be %j', (id) => expect(isRepositoryId(id)).toBe(false))
})

describe('revisions', () => {
  it.each(['main', 'refs/pr/12', 'v1.0', 'fp16', '0123456789012345678901234567890123456789'])('may be %s', (revision) =>
    expect(checkRevision(revision)).toBe(revision),
  )
  it.each([
    '',
    'a b',
    'a..b',
    '/a',
    'a/',
    '-a',
    'a~1',
    'a^',
    'a:b',
    'a?b',
    'a*',
    '[a',
    'a\\b',
    'a@{1}',
    'a//b',
    'a\n',
    'a.',
    'x'.repeat(256),
    '\udc00',
  ])('may not be %j', (revision) =>
    expect(() => checkRevision(revision)).toThrow(expect.objectContaining({ code: 'bad-revision' })),
  )
})

describe('paths', () => {
  it.each(['a', 'unet/config.json', 'a b/ü.txt', '100%.txt', 'a%20b', '...', '.gitattributes'])('may be %s', (path) =>
    expect(checkPath(path)).toBe(path),
  )
  it.each([
    '',
    '/a',
    'a/',
    'a//b',
    '..',
    '../a',
    'a/../b',
    './a',
    'a\\b',
    'C:/a',
    'https://x/y',
    'a\0b',
    '%2e%2e/a',
    'a/%2e%2e/b',
    '%252e%252e%252fa',
    'a%5cb',
    '%25252525252525252e',
    'x'.repeat(1025),
    'half of a pair \ud83d',
  ])('may not be %j', (path) => expect(isSafePath(path)).toBe(false))

  it('are percent-encoded part by part', () => expect(encodePath('a b/#?.txt')).toBe('a%20b/%23%3F.txt'))
})

describe('base URLs', () => {
  it('are cut off at query and fragment, and end in a slash', () =>
    expect(checkBaseUrl('https://x.org/a?token=1#b')).toBe('https://x.org/a/'))
  it('may be relative to the page', () =>
    expect(checkBaseUrl('./models/x', 'https://x.org/app/')).toBe('https://x.org/app/models/x/'))
  it.each(['', 'x', './x', 'ftp://x', 'data:,x', 'https://user:secret@x.org/'])('may not be %j', (url) =>
    expect(() => checkBaseUrl(url)).toThrow(
      expect.objectContaining({ code: 'bad-url', message: expect.stringContaining('URL') }),
    ),
  )
  it('are displayed without parts that may be secret', () => expect(stripQuery('https://x/y?sig=1\n&z#a')).toBe('https://x/y'))
})
