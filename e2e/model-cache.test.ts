/** The page's ModelCache over a real message channel, on a real hub that downloaded from the Hub look-alike. */

import { expose } from 'comlink'
import { afterEach, expect, test } from 'vitest'
import { Engine } from '../src/engine/client/engine-client.js'
import { ModelCache } from '../src/engine/client/model-cache.js'
import type { EngineWorker } from '../src/engine/client/spawn-worker.js'
import { WorkerEngine } from '../src/engine/engine.js'
import { installErrorTransfer } from '../src/engine/protocol.js'
import { Hub } from '../src/hub/hub.js'
import { MemoryStore } from '../src/hub/cache/memory-store.js'
import { openRepository } from '../src/hub/repositories/open-repository.js'
import { syntheticFile } from './hub-server/repositories.js'
import { startHubServer } from './hub-server/server.js'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const load = () => Promise.reject(new Error('Nothing is loaded here'))

test('stored models are listed, measured, exported and deleted', async () => {
  const weights = syntheticFile(300_000, 7)
  const repositories = {
    'owner/one': { 'config.json': '{"a":1}', 'a.safetensors': weights },
    'owner/two': { 'config.json': '{"b":2}', 'b.safetensors': weights },
  }
  const server = await startHubServer({ repositories })
  const hub = await Hub.open({ store: new MemoryStore() })
  const { port1, port2 } = new MessageChannel()
  ends.push(
    () => server.close(),
    () => port1.close(),
    () => port2.close(),
  )
  installErrorTransfer()
  expose(new WorkerEngine({ load, plan: load, cache: () => Promise.resolve(hub.cache) }), port2)
  port1.start()
  const worker: EngineWorker = Object.assign(port1, { terminate: () => port2.close() })
  const cache = new ModelCache({ engine: new Engine({ worker: () => worker }) })

  for (const [id, files] of Object.entries(repositories)) {
    const repository = await openRepository(hub, id, { endpoint: server.url })
    for (const path of Object.keys(files)) await repository.open(path)
    repository.close()
  }
  const models = await cache.list()
  expect(models.map(({ id }) => id).sort()).toEqual(['owner/one', 'owner/two'])
  // The two models share their weights.
  expect((await cache.files()).map(({ size }) => size).sort((a, b) => a - b)).toEqual([7, 7, 300_000])
  expect(await cache.totalBytes()).toBe(300_014)

  const exported = await cache.export(models.find(({ id }) => id === 'owner/two')!)
  expect(exported.map(({ path }) => path)).toEqual(['b.safetensors', 'config.json'])
  expect(await exported[1]!.blob.text()).toBe('{"b":2}')
  expect(Buffer.from(await exported[0]!.blob.arrayBuffer()).equals(await weights.read(0, 300_000))).toBe(true)

  expect(await cache.clear()).toBe(300_014)
  expect([await cache.list(), await cache.files(), await cache.totalBytes()]).toEqual([[], [], 0])
})
