import { afterEach, describe, expect, it } from 'vitest'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import { syntheticFile } from '../../../e2e/hub-server/repositories.js'
import type { HubServer, HubServerOptions } from '../../../e2e/hub-server/types.js'
import { isAquatintError } from '../../errors.js'
import type { ChunkStore } from '../cache/chunk-store.js'
import { Hub } from '../hub.js'
import { MemoryStore } from '../cache/memory-store.js'
import { openRepository, type OpenRepositoryOptions } from './open-repository.js'
import type { TransferSettings } from '../settings.js'
import type { FileProgress } from '../types.js'

const weights = syntheticFile(1_000_003, 5)
const repositories = {
  'owner/name': { 'model_index.json': '{"a":1}', 'unet/config.json': '{}', 'unet/w.safetensors': weights, 'empty.txt': '' },
  'owner/other': { 'vae/w.safetensors': weights },
}
const settings: Partial<TransferSettings> = {
  chunkBytes: 131_072,
  pieceBytes: 65_536,
  retryBaseMs: 1,
  retryMaxMs: 5,
  memoryBytes: 524_288,
}

/** A delay of one day, in milliseconds: a test drops the server's connections before the server answers. */
const unanswered = 86_400_000
let server: HubServer
afterEach(() => server.close())

async function setUp(options: HubServerOptions = {}, store: ChunkStore | null = new MemoryStore()) {
  server = await startHubServer({ repositories, ...options })
  return Hub.open({ store, settings })
}

const open = (hub: Hub, id = 'owner/name', options: OpenRepositoryOptions = {}) =>
  openRepository(hub, id, { endpoint: server.url, ...options })
const whole = { begin: 0, end: weights.size }
const bytesOf = async () => Buffer.from(await weights.read(0, weights.size))
const codeOf = async (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: unknown) => (isAquatintError(error) ? error.code : String(error)),
  )

describe('a repository on the Hub', () => {
  it('lists, opens, and reads any range of a file', async () => {
    const hub = await setUp({ pageSize: 2 })
    const repository = await open(hub)
    expect(repository.revision).toBe(await server.commit('owner/name'))
    expect((await repository.files()).map((file) => file.path)).toEqual([
      'empty.txt',
      'model_index.json',
      'unet/config.json',
      'unet/w.safetensors',
    ])
    const source = await repository.open('unet/w.safetensors')
    expect(source.byteLength).toBe(weights.size)
    expect((await bytesOf()).equals(await source.read(whole))).toBe(true)
    expect((await bytesOf()).subarray(131_000, 400_000).equals(await source.read({ begin: 131_000, end: 400_000 }))).toBe(true)
    expect(await source.read({ begin: 5, end: 5 })).toEqual(new Uint8Array(0))
    expect(await codeOf(source.read({ begin: 5, end: weights.size + 1 }))).toBe('range-out-of-bounds')
    expect((await repository.open('empty.txt')).byteLength).toBe(0)
  })

  it('downloads in parallel, resolves a file once, and requests each byte once', async () => {
    // Each answer of the CDN stops before its first byte, until the test has seen two answers open at the same time.
    const hub = await setUp({ faults: { rules: [{ match: { host: 'cdn' }, stallAfter: 0 }] } })
    const opening = (await open(hub)).open('unet/w.safetensors')
    await expect.poll(() => server.log.filter(({ host, end }) => host === 'cdn' && end === undefined).length).toBeGreaterThan(1)
    server.setFaults({})
    server.dropConnections()
    await opening
    const file = server.log.filter((entry) => entry.host === 'cdn')
    expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
    expect(Math.max(...file.map((entry) => entry.concurrency))).toBeGreaterThanOrEqual(2)
    expect(file.reduce((sum, entry) => sum + entry.bytes, 0)).toBe(weights.size)
    expect(hub.memory.peak).toBeLessThanOrEqual(524_288)
  })

  it('loads again without any request', async () => {
    const store = new MemoryStore()
    const first = await open(await setUp({}, store))
    for (const { path } of await first.files()) await first.open(path)
    server.clearLog()
    const second = await open(await Hub.open({ store, settings }))
    const source = await second.open('unet/w.safetensors')
    expect((await bytesOf()).equals(await source.read(whole))).toBe(true)
    expect((await second.open('unet/config.json')).byteLength).toBe(2)
    expect(server.log).toEqual([])
  })

  it('asks the Hub once after its files did not match, and then no more', async () => {
    const hub = await setUp()
    const first = await open(hub)
    await first.open('model_index.json')
    await first.revalidateOnNextOpen()
    for (const requested of [['revision'], []]) {
      server.clearLog()
      await (await open(hub)).open('model_index.json')
      expect(server.log.map((entry) => entry.kind)).toEqual(requested)
    }
  })

  it('still requires revalidation after the Hub could not be reached', async () => {
    const hub = await setUp()
    const first = await open(hub)
    await first.open('model_index.json')
    await first.revalidateOnNextOpen()
    server.setFaults({ rules: [{ status: 503 }] })
    await open(hub)
    server.setFaults({})
    server.clearLog()
    await open(hub)
    expect(server.log.map((entry) => entry.kind)).toEqual(['revision'])
  })

  it('keeps what another tab has recorded about it meanwhile', async () => {
    const store = new MemoryStore()
    const hub = await setUp({}, store)
    server.setFaults({ rules: [{ match: { path: '/tree/' }, times: 1, delayMs: unanswered }] })
    const late = open(await Hub.open({ store, settings }))
    await expect.poll(() => server.log.map((entry) => entry.kind), { interval: 5 }).toEqual(['revision', 'tree'])
    await (await open(hub)).open('model_index.json')
    // The first tab asks again.
    server.dropConnections()
    await late
    server.clearLog()
    await (await open(hub)).open('model_index.json')
    expect(server.log).toEqual([])
  })

  it('may be on a mirror under a path', async () => {
    const hub = await setUp({ basePath: '/mirrors/hub', pageSize: 2 })
    const repository = await open(hub)
    expect(await repository.files()).toHaveLength(4)
    expect((await bytesOf()).equals(await (await repository.open('unet/w.safetensors')).read(whole))).toBe(true)
    expect((await repository.open('model_index.json')).byteLength).toBe(7)
    // The address of the repository's page on the mirror names the repository too.
    expect((await openRepository(hub, `${server.url}/owner/name`, { endpoint: server.url })).id).toBe('owner/name')
    expect(await hub.cache.models()).toMatchObject([{ id: 'owner/name', endpoint: `${server.url}/` }])
  })

  it('opens as a whole by the address of one of its folders, which it reports to readers of one component', async () => {
    const hub = await setUp()
    const repository = await open(hub, 'https://huggingface.co/owner/name/blob/main/unet/config.json')
    expect([repository.id, repository.folder, await repository.files()]).toEqual([
      'owner/name',
      'unet',
      await (await open(hub)).files(),
    ])
    expect((await repository.open('model_index.json')).byteLength).toBe(7)
  })

  it.each([
    ['owner/name@main/x', 'file-not-found', 'has no folder "x". If "main/x" is a branch or tag, write owner/name@main%2Fx.'],
    ['owner/name@dev/x', 'revision-not-found', 'commit "dev". If "dev/x" is a branch or tag, write owner/name@dev%2Fx.'],
    ['hf://owner/name/x', 'file-not-found', 'owner/name has no folder "x".'],
  ])('says of %s that the folder or the revision does not exist', async (address, code, words) => {
    const opening = open(await setUp(), address)
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringContaining(words) as string })
  })

  it('opens as a whole by the address of a file without an ending', async () => {
    const hub = await setUp()
    server.setRepository('owner/name', { LICENSE: 'x', 'unet/LICENSE': 'x' })
    expect((await open(hub, 'https://huggingface.co/owner/name/blob/main/LICENSE')).folder).toBeUndefined()
    expect((await open(hub, 'https://huggingface.co/owner/name/blob/main/unet/LICENSE')).folder).toBe('unet')
  })

  it('downloads content that two repositories share once', async () => {
    const hub = await setUp()
    await (await open(hub)).open('unet/w.safetensors')
    server.clearLog()
    await (await open(hub, 'owner/other')).open('vae/w.safetensors')
    expect(server.log.map((entry) => entry.kind)).toEqual(['revision', 'tree'])
  })

  it('follows a moved branch when asked to revalidate, and uses the old commit offline', async () => {
    const store = new MemoryStore()
    const hub = await setUp({}, store)
    const before = await server.commit('owner/name')
    await (await open(hub)).open('model_index.json')
    server.setRepository('owner/name', { 'model_index.json': '{"a":2}' })
    expect((await open(hub)).revision).toBe(before)
    const moved = await open(hub, 'owner/name', { revalidate: true })
    expect(moved.revision).toBe(await server.commit('owner/name'))
    expect(new TextDecoder().decode(await (await moved.open('model_index.json')).read({ begin: 0, end: 7 }))).toBe('{"a":2}')
    server.setFaults({ rules: [{ status: 503 }] })
    expect((await open(hub, 'owner/name', { revalidate: true })).revision).toBe(moved.revision)
  })

  it('has an error code for everything that is wrong', async () => {
    const hub = await setUp({ gated: { 'owner/other': 'hf_good' } })
    expect(await codeOf(open(hub, 'owner/none'))).toBe('repository-not-found')
    expect(await codeOf(open(hub, 'owner/../name'))).toBe('bad-repository-id')
    expect(await codeOf(open(hub, 'owner/name', { revision: 'none' }))).toBe('revision-not-found')
    expect(await codeOf(open(hub, 'owner/name', { revision: 'a..b' }))).toBe('bad-revision')
    expect(await codeOf((await open(hub)).open('none.json'))).toBe('file-not-found')
    expect(await codeOf(open(hub, 'owner/other'))).toBe('gated')
    expect(await codeOf(open(hub, 'owner/other', { token: 'hf_bad' }))).toBe('gated')
    expect(await codeOf(open(hub, 'owner/other', { token: 'hf_good\n' }))).toBe('bad-token')
    expect(await codeOf(open(hub, 'owner/name', { endpoint: 'ftp://x' }))).toBe('bad-url')
    expect(await codeOf(open(hub, 'owner/name', { endpoint: 'http://127.0.0.1:1' }))).toBe('network')
  })

  it('downloads nothing of a file that is longer than its reader accepts', async () => {
    const hub = await setUp()
    const repository = await open(hub)
    const limited = { maxBytes: weights.size - 1 }
    await expect(repository.open('unet/w.safetensors', limited)).rejects.toMatchObject({
      code: 'file-too-large',
      details: { path: 'unet/w.safetensors', size: weights.size, maxBytes: weights.size - 1 },
    })
    const unlisted = await openRepository(hub, server.staticUrl('owner/name'))
    await expect(unlisted.open('unet/w.safetensors', limited)).rejects.toMatchObject({ code: 'file-too-large' })
    expect(server.log.filter(({ kind, host }) => kind === 'resolve' || host === 'cdn')).toEqual([])
    expect(await hub.store.chunkFiles()).toEqual([])
    expect((await repository.open('unet/w.safetensors', { maxBytes: weights.size })).byteLength).toBe(weights.size)
  })

  it('opens a gated repository with its access token, which the second host never receives', async () => {
    const hub = await setUp({ gated: { 'owner/name': 'hf_good' } })
    await (await open(hub, 'owner/name', { token: 'hf_good' })).open('unet/w.safetensors')
    expect(server.log.filter((entry) => entry.host === 'hub').every((entry) => entry.authorized)).toBe(true)
    expect(server.log.some((entry) => entry.host === 'cdn' && entry.authorized)).toBe(false)
  })

  it('does not keep a file in use if its download ends after the repository was closed', async () => {
    const hub = await setUp()
    for (const repository of [await open(hub), await openRepository(hub, server.staticUrl('owner/name'))]) {
      const opening = repository.open('unet/w.safetensors')
      repository.close()
      expect((await opening).byteLength).toBe(weights.size)
      for (const { key, size } of await hub.cache.files()) expect(await hub.cache.deleteFile(key)).toBe(size)
    }
  })

  it('without storage, keeps only files in use in memory', async () => {
    const hub = await setUp({}, null)
    const [one, other] = [await open(hub), await open(hub)]
    await one.open('unet/w.safetensors')
    const source = await other.open('unet/w.safetensors')
    expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
    one.close()
    expect(await hub.cache.totalBytes()).toBe(weights.size)
    other.close()
    expect(await hub.cache.totalBytes()).toBe(0)
    expect(await hub.store.chunkFiles()).toEqual([])
    expect((await bytesOf()).equals(await source.read(whole))).toBe(true)
    expect((await (await open(hub)).open('unet/w.safetensors')).byteLength).toBe(weights.size)
  })

  it('reports progress that never falls and ends at the total', async () => {
    const hub = await setUp({ faults: { rules: [{ match: { host: 'cdn' }, times: 3, cutAfter: 1000 }] } })
    const seen: FileProgress[] = []
    await (await open(hub)).open('unet/w.safetensors', { onProgress: (progress) => seen.push(progress) })
    expect(seen.every((event, k) => k === 0 || event.loaded >= seen[k - 1]!.loaded)).toBe(true)
    expect(seen.at(-1)).toEqual({
      path: 'unet/w.safetensors',
      loaded: weights.size,
      total: weights.size,
      cached: 0,
      phase: 'complete',
    })
  })

  it('an abort rejects with an AbortError, whatever its reason and wherever the load waits', async () => {
    const hub = await setUp({ faults: { bytesPerSecond: 100_000 } })
    const repository = await open(hub)
    const stop = new AbortController()
    const [first, second] = [0, 1].map(() => repository.open('unet/w.safetensors', { signal: stop.signal }))
    stop.abort('enough')
    for (const opening of [first, second]) await expect(opening).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    await expect(open(hub, 'owner/other', { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      expect.objectContaining({ name: 'AbortError' }),
    )
  })

  it('stops when aborted, keeps the stored chunks, and resumes from them', async () => {
    const hub = await setUp({ faults: { bytesPerSecond: 1_000_000 } })
    const stop = new AbortController()
    const repository = await open(hub)
    const opening = repository.open('unet/w.safetensors', {
      signal: stop.signal,
      onProgress: ({ loaded }) => loaded > 500_000 && stop.abort(),
    })
    await expect(opening).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    server.clearLog()
    server.setFaults({})
    const source = await repository.open('unet/w.safetensors')
    expect((await bytesOf()).equals(await source.read(whole))).toBe(true)
    expect(server.log.reduce((sum, entry) => sum + entry.bytes, 0)).toBeLessThan(weights.size - 250_000)
  })
})
