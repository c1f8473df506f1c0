/** Web servers as they are: whatever their habits, a repository opens with the right bytes, or with an error that says what to do. */

import { createHash } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import {
  habits,
  sendPage,
  sendPlain,
  startOddServer,
  type Exchange,
  type OddServer,
  type OddServerOptions,
} from '../../../e2e/hub-server/odd-server.js'
import { syntheticFile } from '../../../e2e/hub-server/repositories.js'
import { layoutNames } from '../../checkpoint/layouts/open-layout.js'
import { MemoryStore } from '../cache/memory-store.js'
import { Hub } from '../hub.js'
import { defaultSettings } from '../settings.js'
import type { ByteSource } from '../types.js'
import { openRepository } from './open-repository.js'

const settings = { ...defaultSettings, chunkBytes: 262_144, pieceBytes: 131_072, retryBaseMs: 1, retryMaxMs: 2 }
const weights = syntheticFile(700_001, 3)
const bytesOf = async (begin: number, end: number) => Uint8Array.from(await weights.read(begin, end))
const config = Buffer.from('{"_class_name": "AutoencoderKL"}')
const path = 'diffusion_pytorch_model.safetensors'
const files = new Map([
  ['config.json', config],
  [path, Buffer.from(await weights.read(0, weights.size))],
  ['model.fp16.safetensors', Buffer.alloc(0)],
])

let server: OddServer | undefined
afterEach(() => server?.close())

async function start(answer: OddServerOptions['answer'], more: Partial<OddServerOptions> = {}) {
  server = await startOddServer({ files, answer, ...more })
  const hub = await Hub.open({ store: new MemoryStore(), settings })
  return openRepository(hub, server.url, { layout: layoutNames })
}

describe('a server with', () => {
  it.each(Object.entries(habits))('%s', async (_, answer) => {
    const repository = await start(answer)
    expect((await repository.files()).map((file) => [file.path, file.size])).toEqual([
      ['config.json', config.length],
      [path, weights.size],
      ['model.fp16.safetensors', 0],
    ])
    // The header of the weights can be read from each of these servers without the rest of the file.
    const header = await repository.openHeaderOnly?.(path)
    expect(await header?.read({ begin: 8, end: 1000 })).toEqual(await bytesOf(8, 1000))
    for (const [name, bytes] of files) {
      const source = await repository.open(name)
      expect(bytes.equals(await source.read({ begin: 0, end: source.byteLength }))).toBe(true)
    }
  })

  it('HTML pages for paths that it does not have: they are no files', async () => {
    const repository = await start(sendPlain, { missing: (response) => sendPage(response) })
    expect((await repository.files()).map((file) => file.path)).toEqual([...files.keys()].sort())
    await expect(repository.open('vocab.json')).rejects.toMatchObject({
      code: 'file-not-found',
      message: expect.stringContaining('answers its address with an HTML page'),
    })
  })

  it.each([
    ['an HTML page without a type', {}, '<!doctype html><title>Home</title>'],
    [
      'an XML document as JSON',
      { 'content-type': 'application/json' },
      '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
    ],
    ['JSON', { 'content-type': 'application/json' }, '{"error":"not found"}'],
    ['nothing', { 'content-type': 'application/octet-stream' }, ''],
  ])('%s and status 200 for paths that it does not have: they are no files', async (_, headers, body) => {
    const more = new Map([...files].filter(([, bytes]) => bytes.length > 0))
    const repository = await start(sendPlain, {
      files: more,
      missing: (response) => response.writeHead(200, headers).end(body),
    })
    expect((await repository.files()).map((file) => file.path)).toEqual([...more.keys()].sort())
  })

  it("another program's files.json: files are found by their names", async () => {
    const listing = Buffer.from('[{"name":"config.json","type":"file","size":32}]')
    const repository = await start(sendPlain, { files: new Map([...files, ['files.json', listing]] as const) })
    expect((await repository.files()).map((file) => file.path)).toEqual([...files.keys()].sort())
  })

  it.each([
    [401, 'forbidden', 'asks for a user name and a password (status 401), and Aquatint sends none'],
    [403, 'listing-unavailable', 'denies such requests (status 403), as storage services do'],
    [451, 'forbidden', 'It is not available for legal reasons'],
  ])('status %i for every path', async (status, code, words) => {
    const deny = ({ response }: Pick<Exchange, 'response'>) => void response.writeHead(status).end()
    const listing = start(deny, { missing: (response) => deny({ response }) }).then((repository) => repository.files())
    await expect(listing).rejects.toMatchObject({ code, message: expect.stringContaining(words) as string })
  })

  it('a redirect to a login page, on another host', async () => {
    const login = await startOddServer({ files: new Map(), answer: sendPlain, missing: (response) => sendPage(response) })
    try {
      const redirect = { location: `${login.url}login?next=secret` }
      const repository = await start(({ response }) => void response.writeHead(302, redirect).end())
      await expect(repository.files()).rejects.toMatchObject({
        code: 'listing-unavailable',
        message: expect.stringContaining('HTML page'),
      })
    } finally {
      await login.close()
    }
  })

  it('a page in place of a file that its listing names', async () => {
    const listing = Buffer.from(JSON.stringify({ files: [{ path: 'a.json', size: 5, sha256: '5'.repeat(64) }] }))
    const listed = new Map([...files, ['files.json', listing], ['a.json', Buffer.from('12345')]] as const)
    const repository = await start(
      (exchange) => (exchange.path === 'a.json' ? sendPage(exchange.response, 'text/plain') : sendPlain(exchange)),
      { files: listed },
    )
    await expect(repository.open('a.json')).rejects.toMatchObject({ name: 'HubError', code: 'html-page' })
  })

  it('connections that fail for every range, as browsers report compressed ranges: headers and chosen parts come from the whole file', async () => {
    const sha256 = createHash('sha256')
      .update(files.get(path) ?? '')
      .digest('hex')
    const listing = Buffer.from(JSON.stringify({ files: [{ path, size: weights.size, sha256 }] }))
    const repository = await start(
      (exchange) => (exchange.range === undefined ? sendPlain(exchange) : void exchange.response.destroy()),
      { files: new Map([...files, ['files.json', listing]] as const) },
    )
    const header = await repository.openHeaderOnly?.(path)
    expect(await header?.read({ begin: 8, end: 1000 })).toEqual(await bytesOf(8, 1000))
    const range = { begin: 600_000, end: 600_100 }
    const choose = async (head: ByteSource) => {
      await head.read({ begin: 0, end: 8 })
      return [range]
    }
    const source = await repository.open(path, { choose })
    expect(await source.read(range)).toEqual(await bytesOf(range.begin, range.end))
  })

  it('another ETag in the middle of a download: the file is downloaded again as a whole', async () => {
    let old = 0
    const repository = await start((exchange) => {
      const isOld = exchange.path === path && old < 3
      if (isOld) old++
      sendPlain(exchange, { etag: isOld ? '"old"' : '"new"' })
    })
    const source = await repository.open(path)
    expect(files.get(path)?.equals(await source.read({ begin: 0, end: weights.size }))).toBe(true)
  })

  it('a range that lacks the requested bytes, and no other way to get them', async () => {
    const repository = await start((exchange) => {
      const { response, bytes, range, path: name } = exchange
      if (name !== path || range === null) return sendPlain(exchange)
      if (range === undefined) return void response.writeHead(400).end()
      if (range.end === 1) return sendPlain(exchange)
      response.writeHead(206, { 'content-range': `bytes ${range.begin + 10}-${range.end - 1}/${bytes.length}` })
      response.end(bytes.subarray(range.begin + 10, range.end))
      return undefined
    })
    await expect(repository.open(path)).rejects.toMatchObject({ name: 'HubError', code: 'server-error' })
    const header = await repository.openHeaderOnly?.(path)
    await expect(header?.read({ begin: 0, end: 8 })).rejects.toMatchObject({ code: 'server-error' })
  })
})
