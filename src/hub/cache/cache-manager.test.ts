import { afterEach, describe, expect, it } from 'vitest'
import { syntheticFile } from '../../../e2e/hub-server/repositories.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { Hub } from '../hub.js'
import { MemoryStore } from './memory-store.js'
import { openRepository } from '../repositories/open-repository.js'
import { openPrepared } from '../prepared-file.js'

const weights = syntheticFile(1_000_003, 5)
const settings = { chunkBytes: 131_072, pieceBytes: 65_536, memoryBytes: 524_288 }

let server: HubServer
afterEach(() => server.close())

async function setUp() {
  server = await startHubServer({
    repositories: { 'owner/name': { 'model_index.json': '{}', 'unet/w.safetensors': weights } },
  })
  return Hub.open({ store: new MemoryStore(), settings })
}

describe.each(['the Hub', 'a static host'])('the cache of a model of %s', (host) => {
  const open = (hub: Hub) =>
    host === 'the Hub'
      ? openRepository(hub, 'owner/name', { endpoint: server.url })
      : openRepository(hub, server.staticUrl('owner/name'))

  it('lists and deletes the chunks of a stopped download', async () => {
    const hub = await setUp()
    server.setFaults({ bytesPerSecond: 1_000_000 })
    const stop = new AbortController()
    const repository = await open(hub)
    const opening = repository.open('unet/w.safetensors', {
      signal: stop.signal,
      onProgress: ({ loaded }) => loaded > 500_000 && stop.abort(),
    })
    await expect(opening).rejects.toMatchObject({ name: 'AbortError' })
    repository.close()
    const [model, ...others] = await hub.cache.models()
    expect(others).toEqual([])
    expect(model).toMatchObject({ files: [{ path: 'unet/w.safetensors', size: weights.size, complete: false }] })
    expect(model!.stored).toBeGreaterThan(0)
    expect(model!.stored).toBe(await hub.cache.totalBytes())
    expect(await hub.cache.deleteModel(model!)).toBe(model!.stored)
    expect(await hub.store.chunkFiles()).toEqual([])
    expect(await hub.cache.models()).toEqual([])
  })

  it('lists and deletes files made from its files, and does not export them', async () => {
    const hub = await setUp()
    const repository = await open(hub)
    const source = await repository.open('unet/w.safetensors')
    const parts = [{ name: 'x', source, begin: 0, end: 1000 }]
    const { release } = await openPrepared(hub, { name: 'unet (q8)', recipe: 'head', contents: [source.contentKey!], parts })
    const [model] = await hub.cache.models()
    expect(model!.files.map((file) => [file.path, file.size])).toEqual([
      ['unet (q8)', 1000],
      ['unet/w.safetensors', weights.size],
    ])
    expect(model!.stored).toBe(await hub.cache.totalBytes())
    expect((await hub.cache.exportModel(model!)).map((file) => file.path)).toEqual(['unet/w.safetensors'])
    release()
    repository.close()
    expect(await hub.cache.deleteModel(model!)).toBe(weights.size + 1000)
    expect(await hub.cache.totalBytes()).toBe(0)
  })

  it('makes no request even though the download of another of its files was stopped', async () => {
    const hub = await setUp()
    const repository = await open(hub)
    await repository.open('model_index.json')
    const stop = new AbortController()
    server.setFaults({ bytesPerSecond: 1_000_000 })
    const opening = repository.open('unet/w.safetensors', { signal: stop.signal, onProgress: () => stop.abort() })
    await expect(opening).rejects.toMatchObject({ name: 'AbortError' })
    server.clearLog()
    expect((await (await open(hub)).open('model_index.json')).byteLength).toBe(2)
    expect(server.log).toEqual([])
  })
})
