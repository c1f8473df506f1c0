import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { Hub } from '../hub.js'
import { MemoryStore } from '../cache/memory-store.js'
import { openRepository } from './open-repository.js'
import { openPrepared } from '../prepared-file.js'

const settings = { retryBaseMs: 1, retryMaxMs: 2 }
/** A delay of one day, in milliseconds: a test drops the server's connections before the server answers. */
const unanswered = 86_400_000
let server: HubServer | undefined
let plain: Server | undefined
afterEach(async () => {
  await server?.close()
  plain?.closeAllConnections()
  plain?.close()
  server = plain = undefined
})

const text = async (source: { byteLength: number; read(range: { begin: number; end: number }): Promise<Uint8Array> }) =>
  new TextDecoder().decode(await source.read({ begin: 0, end: source.byteLength }))

/** Two files and their listing, in one version of a site. */
function version(word: string): Record<string, string> {
  const files = { 'x.json': `x ${word}`, 'y.json': `y ${word}` }
  const entries = Object.entries(files).map(([path, content]) => ({
    path,
    size: content.length,
    sha256: createHash('sha256').update(content).digest('hex'),
  }))
  return { ...files, 'files.json': listing(entries) }
}

const listing = (files: unknown) => JSON.stringify({ files })

/** A file of three bytes that is listed without a hash. */
const unhashed = (content: string) => ({ 'x.bin': content, 'files.json': listing([{ path: 'x.bin', size: 3 }]) })

describe('a static host', () => {
  it('opens files by their paths, and notices new ones when asked to revalidate', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    server = await startHubServer({ repositories: { 'a/b': { 'x.json': 'old', 'empty.txt': '' } } })
    const base = server.staticUrl('a/b')
    const repository = await openRepository(hub, base)
    expect(await text(await repository.open('x.json'))).toBe('old')
    expect((await repository.open('empty.txt')).byteLength).toBe(0)
    await expect(repository.files()).rejects.toMatchObject({ code: 'listing-unavailable' })
    await expect(repository.open('none.json')).rejects.toMatchObject({ code: 'file-not-found' })
    await expect(repository.open('../b/x.json')).rejects.toMatchObject({ code: 'file-not-found' })
    server.setRepository('a/b', { 'x.json': 'newer', 'empty.txt': '' })
    expect(await text(await (await openRepository(hub, base)).open('x.json'))).toBe('old')
    expect(await text(await (await openRepository(hub, base, { revalidate: true })).open('x.json'))).toBe('newer')
    server.dropConnections()
    await server.close()
    expect(await text(await (await openRepository(hub, base, { revalidate: true })).open('x.json'))).toBe('newer')
  })

  it('compares files with their listing', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    const sha256 = createHash('sha256').update('right').digest('hex')
    server = await startHubServer({
      repositories: {
        'a/right': { 'x.json': 'right', 'files.json': listing([{ path: 'x.json', size: 5, sha256 }]) },
        'a/wrong': { 'x.json': 'wrong', 'files.json': listing([{ path: 'x.json', size: 5, sha256 }]) },
        'a/longer': {
          'y.json': 'longer',
          'files.json': listing([{ path: 'y.json', size: 5, sha256: sha256.replace(/./, 'f') }]),
        },
        'a/endless': { 'files.json': listing([{ path: 'x.json', size: 9e15 }]) },
        'a/evil': { 'files.json': listing([{ path: '../x.json', size: 5 }]) },
        'a/broken': { 'files.json': '{"files": [' },
        'a/half': { 'files.json': listing([{ path: 'half \ud83d.json', size: 5 }]) },
        'a/objects': { 'files.json': `{"files": [${'{},'.repeat(400_000)}{}]}` },
      },
    })
    const open = (name: string) => openRepository(hub, server?.staticUrl(`a/${name}`) ?? '')
    await expect((await open('wrong')).open('x.json')).rejects.toMatchObject({ code: 'hash-mismatch' })
    await expect((await open('longer')).open('y.json')).rejects.toMatchObject({ code: 'size-mismatch' })
    await expect(open('endless')).rejects.toMatchObject({ code: 'bad-answer' })
    // A file that cannot be requested is left out.
    for (const name of ['evil', 'half']) expect(await (await open(name)).files()).toEqual([])
    for (const name of ['broken', 'objects']) await expect(open(name)).rejects.toMatchObject({ code: 'bad-answer' })
    expect(await text(await (await open('right')).open('x.json'))).toBe('right')
  })

  it('requests the listing again after the files did not match it', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    server = await startHubServer({ repositories: { 'a/b': version('first') } })
    const base = server.staticUrl('a/b')
    await (await openRepository(hub, base)).open('x.json')
    server.setRepository('a/b', version('later'))
    await expect((await openRepository(hub, base)).open('y.json')).rejects.toMatchObject({ code: 'hash-mismatch' })
    const again = await openRepository(hub, base)
    expect(await text(await again.open('x.json'))).toBe('x later')
    expect(await text(await again.open('y.json'))).toBe('y later')
  })

  it('makes a prepared file again when a file without a hash was replaced', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    server = await startHubServer({ repositories: { 'a/b': unhashed('old') } })
    const base = server.staticUrl('a/b')
    const made = async () => {
      const source = await (await openRepository(hub, base, { revalidate: true })).open('x.bin')
      const parts = [{ name: 'x', source, begin: 0, end: 3 }]
      const { contentKey } = source
      if (contentKey === undefined) throw new Error('The host gave a validator, so the content has a name')
      return text((await openPrepared(hub, { name: 'x', recipe: 'copy', contents: [contentKey], parts })).source)
    }
    expect(await made()).toBe('old')
    server.setRepository('a/b', unhashed('new'))
    expect(await made()).toBe('new')
  })

  it('recognizes a site that answers every path with its HTML page, and works without range requests', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    const started = createServer((request, response) => {
      const isFile = request.url === '/m/x.json'
      response.writeHead(200, { 'content-type': isFile ? 'application/json' : 'text/html', 'content-length': isFile ? 5 : 6 })
      response.end(isFile ? '"abc"' : '<html>')
    })
    plain = started
    await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve))
    const repository = await openRepository(hub, `http://127.0.0.1:${(started.address() as AddressInfo).port}/m`)
    const source = await repository.open('x.json')
    expect(await text(source)).toBe('"abc"')
    expect(source.contentKey).toBeUndefined()
    await expect(repository.open('y.json')).rejects.toMatchObject({ code: 'file-not-found' })
  })

  it('ends a load with an error when it does not say how long a file is', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings: { ...settings, stallMs: 500 } })
    const started = createServer((request, response) => {
      if (request.url === '/m/files.json') response.writeHead(404).end()
      // The server answers GET requests without Content-Length, and HEAD requests not at all.
      else if (request.method === 'GET') response.writeHead(200, { 'transfer-encoding': 'chunked' }).end('x')
    })
    plain = started
    await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve))
    const repository = await openRepository(hub, `http://127.0.0.1:${(started.address() as AddressInfo).port}/m`)
    await expect(repository.open('x.bin')).rejects.toMatchObject({ code: 'stalled', details: { path: 'x.bin' } })
  })

  it('keeps what another tab has recorded meanwhile', async () => {
    const store = new MemoryStore()
    server = await startHubServer({ repositories: { 'a/b': version('first') } })
    const base = server.staticUrl('a/b')
    server.setFaults({ rules: [{ match: { path: 'files.json' }, times: 1, delayMs: unanswered }] })
    const late = openRepository(await Hub.open({ store, settings }), base)
    await expect.poll(() => server?.log.length, { interval: 5 }).toBe(1)
    const hub = await Hub.open({ store, settings })
    await (await openRepository(hub, base)).open('x.json')
    // The first tab asks again.
    server?.dropConnections()
    await late
    server.clearLog()
    await (await openRepository(hub, base)).open('x.json')
    expect(server.log).toEqual([])
  })

  it.each([
    ['in the Content-Range', { 'content-range': 'bytes 0-0/9000000000000000' }, {}, 'bad-answer'],
    ['in the Content-Length', {}, { 'content-length': '9000000000000000' }, 'bad-answer'],
  ])('rejects an impossible size: %s', async (_, get, head, code) => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    const fetched = vi.spyOn(globalThis, 'fetch').mockImplementation((url, init) => {
      const { pathname } = new URL(url as string)
      if (pathname === '/files.json') return Promise.resolve(new Response(null, { status: 404 }))
      const range = new Headers(init?.headers).get('range') !== null && 'content-range' in get
      const headers = init?.method === 'HEAD' ? head : get
      return Promise.resolve(new Response(init?.method === 'HEAD' ? null : 'x', { status: range ? 206 : 200, headers }))
    })
    try {
      const repository = await openRepository(hub, 'https://static.test/')
      await expect(repository.open('x.json')).rejects.toMatchObject({ code })
    } finally {
      fetched.mockRestore()
    }
  })
})
