/** Tests the Hub look-alike: its API, its downloads, and the faults that tests set. */

import { createHash } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { syntheticFile } from './repositories.js'
import { startHubServer } from './server.js'
import type { HubServer, HubServerOptions } from './types.js'

let server: HubServer | undefined
afterEach(() => server?.close())

const weights = syntheticFile(300_000, 7)
const repositories = {
  'owner/name': { 'model_index.json': '{"_class_name":"X"}', 'unet/config.json': '{}', 'unet/a.safetensors': weights },
}

async function start(options: HubServerOptions = {}): Promise<HubServer> {
  server = await startHubServer({ repositories, ...options })
  return server
}

/** Requests the first 100,000 bytes by `node:http`, because `fetch` has timers of its own. */
async function request(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { range: 'bytes=0-99999' }, agent: false }, resolve).on('error', reject)
  })
}

/**
 * The milliseconds that pass on the server's clock while it answers `count` concurrent requests for the first 100,000 bytes. The clock is a
 * fake one, which moves from one timer of the server to the next.
 */
async function clockOf(hub: HubServer, count: number): Promise<number> {
  // The Hub redirects to the second origin, which sends the bytes.
  const { headers } = (await request(`${hub.url}/owner/name/resolve/main/unet/a.safetensors`)).resume()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  try {
    const began = performance.now()
    const received: number[] = []
    const bodies = Array.from({ length: count }, async () => {
      let bytes = 0
      for await (const piece of (await request(headers.location ?? '')) as AsyncIterable<Buffer>) bytes += piece.length
      received.push(bytes)
    })
    while (received.length < count) {
      await new Promise((resolve) => setImmediate(resolve))
      vi.advanceTimersToNextTimer()
    }
    await Promise.all(bodies)
    expect(received).toEqual(Array.from({ length: count }, () => 100_000))
    return performance.now() - began
  } finally {
    vi.useRealTimers()
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const file = async (hub: HubServer, range = 'bytes=0-99999') =>
  fetch(`${hub.url}/owner/name/resolve/main/unet/a.safetensors`, { headers: { range } })
const truth = async (begin: number, end: number) => Buffer.from(await weights.read(begin, end))

describe('the API', () => {
  it('returns a commit, and a tree with the hashes of git and LFS', async () => {
    const { url } = await start()
    const { sha } = await (await fetch(`${url}/api/models/owner/name/revision/main`)).json()
    expect(sha).toMatch(/^[0-9a-f]{40}$/)
    const tree: { path: string; oid: string; lfs?: { oid: string; size: number } }[] = await (
      await fetch(`${url}/api/models/owner/name/tree/${sha}?recursive=true`)
    ).json()
    const byPath = new Map(tree.map((entry) => [entry.path, entry]))
    expect([...byPath.keys()]).toEqual(['unet', 'model_index.json', 'unet/a.safetensors', 'unet/config.json'])
    expect(byPath.get('unet/config.json')?.oid).toBe(createHash('sha1').update('blob 2\0{}').digest('hex'))
    expect(byPath.get('unet/a.safetensors')?.lfs).toMatchObject({ size: 300_000, oid: sha256(await weights.read(0, 300_000)) })
  })

  it('splits the tree into pages with Link headers', async () => {
    const { url } = await start({ pageSize: 3 })
    const first = await fetch(`${url}/api/models/owner/name/tree/main?recursive=true`)
    expect(await first.json()).toHaveLength(3)
    const next = /<([^>]+)>; rel="next"/.exec(first.headers.get('link') ?? '')?.[1] ?? ''
    const second = await fetch(next)
    expect(await second.json()).toHaveLength(1)
    expect(second.headers.get('link')).toBeNull()
  })

  it('answers a request for something missing as the Hub does', async () => {
    const { url } = await start()
    const code = async (path: string) => {
      const response = await fetch(url + path)
      return [response.status, response.headers.get('x-error-code')]
    }
    expect(await code('/api/models/owner/other/revision/main')).toEqual([401, 'RepoNotFound'])
    expect(await code('/api/models/owner/name/revision/other')).toEqual([404, 'RevisionNotFound'])
    expect(await code('/owner/name/resolve/main/other.json')).toEqual([404, 'EntryNotFound'])
  })

  it('opens gated repositories with their token only', async () => {
    const { url } = await start({ gated: { 'owner/name': 'hf_good' } })
    const ask = (headers: Record<string, string>) => fetch(`${url}/api/models/owner/name/revision/main`, { headers })
    expect((await ask({})).status).toBe(401)
    expect((await ask({})).headers.get('x-error-code')).toBe('GatedRepo')
    expect((await ask({ authorization: 'Bearer hf_bad' })).status).toBe(403)
    expect((await ask({ authorization: 'Bearer hf_good' })).status).toBe(200)
    expect(server?.log.at(-1)?.authorized).toBe(true)
  })

  it('derives the commit from the content, and keeps old commits when main moves', async () => {
    const hub = await start()
    const before = await hub.commit('owner/name')
    hub.setRepository('owner/name', { 'model_index.json': '{}' })
    const after = await hub.commit('owner/name')
    expect(after).not.toBe(before)
    const text = async (revision: string) => (await fetch(`${hub.url}/owner/name/resolve/${revision}/model_index.json`)).text()
    expect(await text('main')).toBe('{}')
    expect(await text(before)).toBe('{"_class_name":"X"}')
  })

  it('can be a mirror under a path', async () => {
    const hub = await start({ basePath: '/mirrors/hub', pageSize: 3 })
    expect(new URL(hub.url).pathname).toBe('/mirrors/hub')
    const { sha } = await (await fetch(`${hub.url}/api/models/owner/name/revision/main`)).json()
    expect(sha).toBe(await hub.commit('owner/name'))
    const page = await fetch(`${hub.url}/api/models/owner/name/tree/main?recursive=true`)
    expect(page.headers.get('link')).toContain(`<${hub.url}/api/models/`)
    const small = await fetch(`${hub.url}/owner/name/resolve/main/unet/config.json`)
    expect([small.url.startsWith(`${hub.url}/api/resolve-cache/`), await small.text()]).toEqual([true, '{}'])
    expect((await file(hub)).url.startsWith(hub.cdnUrl)).toBe(true)
    expect((await fetch(`${new URL(hub.url).origin}/api/models/owner/name/revision/main`)).status).toBe(404)
  })

  it('serves the folders under a root', async () => {
    const root = await mkdtemp(join(tmpdir(), 'hub-'))
    await mkdir(join(root, 'some', 'model', 'vae'), { recursive: true })
    await writeFile(join(root, 'some', 'model', 'vae', 'config.json'), '{"a":1}')
    const { url } = await start({ root })
    expect(await (await fetch(`${url}/some/model/resolve/main/vae/config.json`)).json()).toEqual({ a: 1 })
    await rm(root, { recursive: true })
  })
})

describe('files', () => {
  it('redirects large ones to a signed address on the second origin, with ranges', async () => {
    const hub = await start()
    const response = await fetch(`${hub.url}/owner/name/resolve/main/unet/a.safetensors`, {
      headers: { range: 'bytes=100-1099' },
    })
    expect(response.url.startsWith(hub.cdnUrl)).toBe(true)
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe('bytes 100-1099/300000')
    expect(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(await weights.read(100, 1100)))).toBe(true)
    const forged = response.url.replace(/Signature=..../, 'Signature=0000')
    expect((await fetch(forged)).status).toBe(403)
    expect((await fetch(response.url, { headers: { range: 'bytes=300000-' } })).status).toBe(416)
  })

  it('lets signed addresses expire, and hides that from other origins if a fault says so', async () => {
    const hub = await start({ faults: { urlSeconds: -1 } })
    const refused = async () => {
      const { status, headers } = await file(hub)
      return [status, headers.get('access-control-allow-origin')]
    }
    expect(await refused()).toEqual([403, '*'])
    hub.setFaults({ urlSeconds: -1, bareErrors: true })
    expect(await refused()).toEqual([403, null])
    hub.setFaults({ bareErrors: true })
    expect(await refused()).toEqual([206, '*'])
  })

  it('sends small files from its own origin, and all files from the plain web server', async () => {
    const hub = await start()
    const response = await fetch(`${hub.url}/owner/name/resolve/main/unet/config.json`)
    expect(response.url).toContain(`${hub.url}/api/resolve-cache/models/owner/name/`)
    expect(await response.text()).toBe('{}')
    expect(await (await fetch(`${hub.staticUrl('owner/name')}unet/config.json`)).text()).toBe('{}')
    expect((await fetch(`${hub.staticUrl('owner/name')}nothing`)).status).toBe(404)
  })

  it('answers a request for a missing file on the plain web server in the ways that hosts do', async () => {
    const hub = await start({ faults: { bareErrors: true } })
    const bare = await fetch(`${hub.staticUrl('owner/name')}nothing`)
    expect([bare.status, bare.headers.get('access-control-allow-origin')]).toEqual([404, null])
    expect((await fetch(`${hub.staticUrl('owner/name')}unet/config.json`)).headers.get('access-control-allow-origin')).toBe('*')
    hub.setFaults({ pageForAll: 'text/html; charset=utf-8' })
    const page = await fetch(`${hub.staticUrl('owner/name')}nothing`, { headers: { range: 'bytes=0-0' } })
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(await page.text()).toContain('<!doctype html>')
    expect(await (await fetch(`${hub.staticUrl('owner/name')}unet/config.json`)).text()).toBe('{}')
  })

  it('logs requests with range, bytes and how many ran at once', async () => {
    const hub = await start()
    const { url } = await fetch(`${hub.url}/owner/name/resolve/main/unet/a.safetensors`, { headers: { range: 'bytes=0-0' } })
    const three = async () =>
      Promise.allSettled(
        [0, 1, 2].map(async (k) => (await fetch(url, { headers: { range: `bytes=${k * 10}-${k * 10 + 9}` } })).arrayBuffer()),
      )
    hub.clearLog()
    await three()
    expect(hub.log.map((entry) => [entry.file, entry.bytes, entry.status])).toEqual(
      Array.from({ length: 3 }, () => ['unet/a.safetensors', 10, 206]),
    )
    // Three requests that run at once, because the server waits a day before it answers.
    hub.clearLog()
    hub.setFaults({ latencyMs: 86_400_000 })
    const unanswered = three()
    await expect.poll(() => hub.log, { interval: 5 }).toHaveLength(3)
    expect(Math.max(...hub.log.map((entry) => entry.concurrency))).toBe(3)
    hub.setFaults({})
    hub.dropConnections()
    expect((await unanswered).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    await fetch(`${hub.url}/api/models/owner/name/tree/main?recursive=true&token=x`)
    expect(hub.log.at(-1)?.query).toBe('?recursive=true&token=x')
    expect(hub.log[0]?.query).toBe(new URL(url).search)
  })
})

describe('faults', () => {
  it('throttle each connection', async () => {
    const hub = await start({ faults: { bytesPerSecond: 500_000 } })
    // 100,000 bytes take 200 ms. The server ends the response with the last piece, and does not wait for the 50 ms of this piece.
    expect(await clockOf(hub, 1)).toBeCloseTo(150, 6)
  })

  it('throttle all connections together', async () => {
    const hub = await start({ faults: { lineBytesPerSecond: 500_000 } })
    // Each response takes at least 150 ms: 50 ms for each of its four pieces but the last.
    expect(Math.round(await clockOf(hub, 3))).toBeGreaterThanOrEqual(3 * 150)
  })

  it('answer with a status a given number of times, after a given number of good answers', async () => {
    const hub = await start({
      faults: { rules: [{ match: { host: 'cdn' }, skip: 1, times: 2, status: 503, headers: { 'retry-after': '1' } }] },
    })
    const seen: number[] = []
    for (let k = 0; k < 4; k++) seen.push((await file(hub)).status)
    expect(seen).toEqual([206, 503, 503, 206])
  })

  it('ignore Range, or send another Content-Range, or none', async () => {
    const hub = await start({
      faults: {
        rules: [
          { times: 1, match: { host: 'cdn' }, ignoreRange: true },
          { times: 1, match: { host: 'cdn' }, contentRange: 'bytes 5-9/10' },
          { match: { host: 'cdn' }, contentRange: 'missing' },
        ],
      },
    })
    const whole = await file(hub)
    expect([whole.status, (await whole.arrayBuffer()).byteLength]).toEqual([200, 300_000])
    expect((await file(hub)).headers.get('content-range')).toBe('bytes 5-9/10')
    expect((await file(hub)).headers.get('content-range')).toBeNull()
  })

  it('cut a body off, or end it early but properly', async () => {
    const hub = await start({
      faults: {
        rules: [
          { times: 1, match: { host: 'cdn' }, cutAfter: 1000 },
          { times: 1, match: { host: 'cdn' }, endAfter: 1000 },
        ],
      },
    })
    const cut = await file(hub)
    expect(cut.headers.get('content-length')).toBe('100000')
    await expect(cut.arrayBuffer()).rejects.toThrow()
    const ended = await file(hub)
    expect(ended.headers.get('content-length')).toBeNull()
    expect((await ended.arrayBuffer()).byteLength).toBe(1000)
  })

  it('send nothing more', async () => {
    const hub = await start({ faults: { rules: [{ times: 1, match: { host: 'cdn' }, stallAfter: 1000 }] } })
    const reader = (await file(hub)).body!.getReader()
    let count = 0
    while (count < 1000) count += (await reader.read()).value?.length ?? 0
    expect(count).toBe(1000)
    let more = false
    const rest = reader.read().then(({ done }) => (more = !done))
    // The server has sent all of this response, and nothing more of the first one.
    expect((await (await file(hub)).arrayBuffer()).byteLength).toBe(100_000)
    expect(more).toBe(false)
    expect(hub.log.filter(({ kind }) => kind === 'file').map(({ bytes }) => bytes)).toEqual([1000, 100_000])
    await reader.cancel()
    await rest
  })

  it('send wrong bytes', async () => {
    const hub = await start({
      faults: {
        rules: [
          { times: 1, match: { host: 'cdn' }, flipByteAt: 10 },
          { times: 1, match: { host: 'cdn' }, shiftBytes: 4 },
          { match: { host: 'cdn' }, gzip: true },
        ],
      },
    })
    const flipped = Buffer.from(await (await file(hub)).arrayBuffer())
    const right = await truth(0, 100_000)
    expect(flipped[10]).toBe(255 - right[10]!)
    flipped[10] = right[10]!
    expect(flipped.equals(right)).toBe(true)
    const shifted = Buffer.from(await (await file(hub, 'bytes=1000-1999')).arrayBuffer())
    expect(shifted.equals(await truth(996, 1996))).toBe(true)
    const zipped = await file(hub)
    expect(zipped.headers.get('content-encoding')).toBe('gzip')
    expect(Buffer.from(await zipped.arrayBuffer()).equals(right)).toBe(true)
  })

  it('can be set over HTTP', async () => {
    const hub = await start()
    await fetch(`${hub.url}/-/faults`, { method: 'PUT', body: JSON.stringify({ rules: [{ status: 500 }] }) })
    expect((await file(hub)).status).toBe(500)
    expect((await (await fetch(`${hub.url}/-/log`)).json()).at(-1)).toMatchObject({ kind: 'resolve', status: 500 })
    await fetch(`${hub.url}/-/faults`, { method: 'PUT', body: '{}' })
    const put = await fetch(`${hub.url}/-/repositories/new/one`, {
      method: 'PUT',
      body: JSON.stringify({ 'a.bin': { size: 5 } }),
    })
    expect(await put.json()).toEqual({ commit: await hub.commit('new/one') })
  })
})

it('synthetic bytes do not depend on how they are read', async () => {
  const size = (2 << 20) + 5
  const file = syntheticFile(size, 3)
  const whole = Buffer.from(await file.read(0, size))
  const parts: Uint8Array[] = []
  for (let at = 0; at < size; at += 700_001) parts.push(await file.read(at, Math.min(size, at + 700_001)))
  expect(Buffer.concat(parts).equals(whole)).toBe(true)
  expect(sha256(await file.read(0, 1 << 20))).not.toBe(sha256(await file.read(1 << 20, 2 << 20)))
})
