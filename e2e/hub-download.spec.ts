/** Promises 1, 2, 3, 5 and 9 of docs/downloads.md: files are downloaded in parallel from every kind of source, verified, stored once, and load offline. */

import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Page } from '@playwright/test'
import { readRepository } from './fixture-repository.js'
import { large, mebibyte, weightsPath } from './hub/files.js'
import { launchBrowser } from './hub/browser.js'
import { driveHub, expect, test } from './hub/harness.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'
import { startHubServer } from './hub-server/server.js'

test('promises 1, 2, 3, 9: a large file is downloaded in parallel, verified, and loads offline after a restart', async ({
  server,
  pageUrl,
}) => {
  server.setRepository('owner/large', { 'model_index.json': '{}', [weightsPath]: large })
  // Each answer is so slow that more parallel requests are faster.
  server.setFaults({ bytesPerSecond: 4 * mebibyte })
  const browser = await launchBrowser()
  try {
    const hub = await driveHub(await browser.newPage(), pageUrl)
    const empty = await bytesUnder(browser.profile)
    await hub.call('open', 'owner/large', { endpoint: server.url })
    expect(await hub.call('load', weightsPath)).toEqual([large.size])
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(large))
    expect(await hub.call('trouble')).toEqual([])
    expect(await hub.call('memoryPeak')).toBeLessThanOrEqual(96 * mebibyte)
    const asked = server.log.filter((entry) => entry.file === weightsPath && entry.kind === 'file')
    expect(Math.max(...asked.map((entry) => entry.concurrency))).toBeGreaterThanOrEqual(4)
    expect(asked.reduce((sum, entry) => sum + entry.bytes, 0)).toBe(large.size)
    expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
    // The browser profile holds the file once. A second copy in the HTTP cache would double it; all else that a browser writes is small.
    const stored = (await bytesUnder(browser.profile)) - empty
    expect(stored).toBeGreaterThanOrEqual(large.size)
    expect(stored).toBeLessThan(1.5 * large.size)
    await server.close()
    await browser.restart()
    const again = await driveHub(await browser.newPage(), pageUrl)
    await again.call('open', 'owner/large', { endpoint: server.url })
    expect(await again.call('load', weightsPath)).toEqual([large.size])
    expect(await again.call('hash', weightsPath)).toBe(await sha256Of(large))
    expect(await again.progress(weightsPath)).toMatchObject({ phase: 'complete', cached: large.size })
  } finally {
    await browser.close()
  }
})

test('promise 1: shards are downloaded in parallel', async ({ server, hub }) => {
  const shards = Array.from({ length: 4 }, (_, k) => [`unet/shard-${k}.safetensors`, syntheticFile(2 * mebibyte, k + 1)] as const)
  server.setRepository('owner/shards', Object.fromEntries(shards))
  // Each answer stalls after half of its shard, until all four are open.
  server.setFaults({ rules: [{ match: { host: 'cdn' }, stallAfter: mebibyte }] })
  await hub.call('setUp', { startConnections: 4 })
  await hub.call('open', 'owner/shards', { endpoint: server.url })
  const loading = hub.call('load', ...shards.map(([path]) => path))
  const open = () =>
    new Set(server.log.flatMap(({ host, end, file }) => (host === 'cdn' && end === undefined ? [file] : []))).size
  await expect.poll(open).toBe(4)
  server.setFaults({})
  server.dropConnections()
  expect(await loading).toEqual(shards.map(([, { size }]) => size))
})

test('promise 3: wrong bytes are never used: they are downloaded once more, then rejected and deleted', async ({
  server,
  hub,
}) => {
  const file = syntheticFile(5 * mebibyte, 9)
  server.setRepository('owner/wrong', { [weightsPath]: file, 'config.json': '{"right": true}' })
  await hub.call('open', 'owner/wrong', { endpoint: server.url })
  for (const fault of [{ flipByteAt: 3 * mebibyte }, { shiftBytes: 4 }]) {
    server.setFaults({ rules: [{ match: { host: 'cdn' }, ...fault }] })
    expect((await hub.failure('load', weightsPath)).code).toBe('hash-mismatch')
    expect(await hub.call('totalBytes')).toBe(0)
  }
  server.setFaults({ rules: [{ match: { path: 'config.json' }, flipByteAt: 3 }] })
  expect((await hub.failure('load', 'config.json')).code).toBe('hash-mismatch')
  server.setFaults({ rules: [{ match: { host: 'cdn', covers: 100 }, times: 1, flipByteAt: 100 }] })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
})

for (const broken of ['noWorkers', 'deadWorkers', 'dyingWorkers'] as const) {
  test(`promise 3: a large file is verified when the hash worker cannot run (${broken})`, async ({ server, newHub }) => {
    // Files of 8 MiB and more are hashed in a worker.
    const settings = { chunkBytes: 2 * mebibyte, pieceBytes: mebibyte, memoryBytes: 12 * mebibyte }
    const file = syntheticFile(20 * mebibyte, 9)
    server.setRepository('owner/name', { [weightsPath]: file })
    const hub = await newHub(broken)
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
    expect((await hub.call('models'))[0]?.files[0]).toMatchObject({ complete: true, verified: true })
    // Stored bytes are not downloaded again, only those that were in flight.
    const sent = server.log.filter((entry) => entry.host === 'cdn').reduce((sum, entry) => sum + entry.bytes, 0)
    expect(sent).toBeLessThanOrEqual(file.size + (broken === 'dyingWorkers' ? settings.memoryBytes : 0))
    await hub.page.reload()
    server.setFaults({ rules: [{ match: { host: 'cdn' }, flipByteAt: 15 * mebibyte }] })
    const other = syntheticFile(file.size, 10)
    server.setRepository('owner/name', { [weightsPath]: other })
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/name', { endpoint: server.url, revalidate: true })
    expect((await hub.failure('load', weightsPath)).code).toBe('hash-mismatch')
  })
}

test('promise 3: a damaged or lost chunk of the cache is downloaded again, and no other chunk', async ({ server, hub }) => {
  const file = syntheticFile(2.5 * mebibyte, 9)
  server.setRepository('owner/bad', { [weightsPath]: file })
  await hub.call('setUp', { chunkBytes: mebibyte, pieceBytes: mebibyte / 2 })
  await hub.call('open', 'owner/bad', { endpoint: server.url })
  await hub.call('load', weightsPath)
  for (const spoil of ['corrupt', 'loseChunk'] as const) {
    await hub.call(spoil, weightsPath, 1)
    const { chunks, bad } = await hub.call('verify')
    expect([chunks, bad]).toEqual(spoil === 'corrupt' ? [3, [{ path: weightsPath, index: 1 }]] : [2, []])
    server.clearLog()
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
    expect(server.log.filter((entry) => entry.host === 'cdn').reduce((sum, entry) => sum + entry.bytes, 0)).toBe(mebibyte)
  }
})

test('promise 2: a gated repository opens with its access token, which is not stored or sent anywhere else', async ({ hub }) => {
  const [token, wrong] = ['hf_secret_token', 'hf_wrong_token']
  const gated = await startHubServer({
    repositories: { 'owner/gated': { 'config.json': '{}', [weightsPath]: syntheticFile(mebibyte) } },
    gated: { 'owner/gated': token },
  })
  try {
    expect((await hub.failure('open', 'owner/gated', { endpoint: gated.url })).code).toBe('gated')
    const refused = await hub.failure('open', 'owner/gated', { endpoint: gated.url, token: wrong })
    expect(refused.code).toBe('gated')
    expect(JSON.stringify(refused)).not.toContain(wrong)
    await hub.call('open', 'owner/gated', { endpoint: gated.url, token })
    await hub.call('load', weightsPath, 'config.json')
    expect(gated.log.some((entry) => entry.host === 'cdn' && entry.authorized)).toBe(false)
    // Signed addresses have a query; a token in the query would be in the log.
    expect(gated.log.some((entry) => entry.host === 'cdn' && entry.query.includes('X-Amz-Signature'))).toBe(true)
    expect(gated.log.filter((entry) => (entry.path + entry.query).includes('hf_'))).toEqual([])
    const stored = await everythingStored(hub.page)
    expect(stored).toContain('owner/gated')
    for (const secret of [token, wrong, 'X-Amz-Signature']) expect(stored).not.toContain(secret)
  } finally {
    await gated.close()
  }
})

test('promise 2: a repository on a plain web server opens without a listing and with one', async ({ server, hub }) => {
  const file = syntheticFile(3 * mebibyte, 4)
  const index = '{"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"]}'
  const files = { 'model_index.json': index, [weightsPath]: file }
  server.setRepository('owner/plain', files)
  const base = server.staticUrl('owner/plain')
  await hub.call('setUp', { retryBaseMs: 10, retryMaxMs: 40 })
  // The files are found by their names, also when missing CORS headers hide a 404, and when the site sends its HTML page for every path.
  const found = [
    { path: 'model_index.json', size: index.length },
    { path: weightsPath, size: file.size },
  ]
  for (const faults of [{}, { bareErrors: true }, { pageForAll: 'text/html' }]) {
    server.setFaults(faults)
    expect((await hub.call('open', base, { revalidate: true })).files).toEqual(found)
  }
  server.setFaults({})
  await hub.call('load', 'model_index.json', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect((await hub.failure('load', 'none.json')).code).toBe('file-not-found')
  server.clearLog()
  await hub.call('open', base, {})
  await hub.call('load', 'model_index.json', weightsPath)
  expect(server.log).toEqual([])
  expect((await hub.call('open', base, {})).files).toEqual(found)
  expect(server.log).toEqual([])
  const listing = { files: [{ path: weightsPath, size: file.size, sha256: await sha256Of(file) }] }
  server.setRepository('owner/listed', { ...files, 'files.json': JSON.stringify(listing) })
  expect((await hub.call('open', server.staticUrl('owner/listed'), {})).files).toEqual(listing.files)
  await hub.call('load', weightsPath)
  expect(await hub.call('models')).toHaveLength(2)
})

test('promise 2: a folder of the File System Access API is read in place', async ({ hub }) => {
  const files = { 'model_index.json': '{"a": 1}', 'unet/config.json': '{"b": 22}' }
  expect(await hub.call('openFolder', files)).toEqual([
    { path: 'model_index.json', size: 8 },
    { path: 'unet/config.json', size: 9 },
  ])
  await hub.call('load', 'unet/config.json')
  expect(await hub.call('read', 'unet/config.json', 6, 8)).toEqual([...Buffer.from('22')])
  expect((await hub.failure('load', 'vae/config.json')).code).toBe('file-not-found')
  expect(await hub.call('totalBytes')).toBe(0)
  // Change the file in the folder after it was loaded.
  await hub.call('openFolder', { 'unet/config.json': '{"b": 333}' })
  expect((await hub.failure('read', 'unet/config.json', 6, 8)).code).toBe('file-changed')
})

for (const way of ['dropped on the page', 'picked in a file input']) {
  test(`promise 2: a folder ${way} is read in place`, async ({ hub }) => {
    const fixture = resolve('fixtures/tiny-sd15/repo')
    if (way.startsWith('dropped')) {
      // Drop the folder through DevTools: a drag event that a script creates cannot contain a folder.
      const devtools = await hub.page.context().newCDPSession(hub.page)
      const data = { items: [], files: [fixture], dragOperationsMask: 1 }
      for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
        await devtools.send('Input.dispatchDragEvent', { type, x: 20, y: 20, data })
    } else {
      await hub.page.locator('input').setInputFiles(fixture)
    }
    const expected = readRepository('fixtures/tiny-sd15/repo')
    const { id, files } = await hub.openGiven()
    expect(id).toBe('repo')
    expect(files).toEqual(
      Object.keys(expected)
        .sort()
        .map((path) => ({ path, size: expected[path]?.length })),
    )
    const weights = 'unet/diffusion_pytorch_model-00002-of-00003.safetensors'
    await hub.call('load', weights)
    expect(await hub.call('hash', weights)).toBe(createHash('sha256').update(expected[weights]!).digest('hex'))
    expect(await hub.call('totalBytes')).toBe(0)
  })
}

test('promise 5: the same content in two repositories is downloaded and stored once', async ({ server, hub }) => {
  const vae = syntheticFile(5 * mebibyte, 6)
  server.setRepository('owner/one', { 'vae/model.safetensors': vae, 'vae/config.json': '{"x": 1}' })
  server.setRepository('owner/two', { 'other/vae.safetensors': vae, 'other/config.json': '{"x": 1}' })
  await hub.call('open', 'owner/one', { endpoint: server.url })
  await hub.call('load', 'vae/model.safetensors', 'vae/config.json')
  server.clearLog()
  await hub.call('open', 'owner/two', { endpoint: server.url })
  await hub.call('load', 'other/vae.safetensors', 'other/config.json')
  expect(server.log.filter((entry) => entry.kind === 'file' || entry.kind === 'resolve')).toEqual([])
  expect(await hub.call('hash', 'other/vae.safetensors')).toBe(await sha256Of(vae))
  expect(await hub.call('totalBytes')).toBe(vae.size + 8)
})

/** Everything that the page's origin has stored, as text: every database, cache, storage item and cookie. */
async function everythingStored(page: Page): Promise<string> {
  return page.evaluate(
    async ([success, failure]) => {
      const settled = <T>(request: IDBRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          request.addEventListener(success, () => resolve(request.result))
          request.addEventListener(failure, () => reject(request.error))
        })
      const found: unknown[] = [document.cookie, Object.entries(localStorage), Object.entries(sessionStorage)]
      for (const { name = '' } of await indexedDB.databases()) {
        const database = await settled(indexedDB.open(name))
        for (const store of database.objectStoreNames) {
          const within = database.transaction(store).objectStore(store)
          const [keys, values] = await Promise.all([settled(within.getAllKeys()), settled<unknown[]>(within.getAll())])
          found.push(name, store, keys)
          for (const value of values) found.push(value instanceof Blob ? await value.text() : value)
        }
        database.close()
      }
      for (const name of await caches.keys()) {
        const cache = await caches.open(name)
        for (const request of await cache.keys()) found.push(request.url, await (await cache.match(request))?.text())
      }
      // Bytes are searched as text too, because stored bytes, such as the state of a hash, contain parts of files.
      return JSON.stringify(found, (_, value: unknown) =>
        value instanceof Uint8Array || value instanceof ArrayBuffer ? new TextDecoder('latin1').decode(value) : value,
      )
    },
    ['success', 'error'] as const,
  )
}

async function bytesUnder(folder: string): Promise<number> {
  // A running browser deletes and renames files meanwhile.
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const sizes = await Promise.all(
    entries.map(async (entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return bytesUnder(path)
      return entry.isFile() ? ((await stat(path).catch(() => null))?.size ?? 0) : 0
    }),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
