/** Promises 7 and 11 of docs/downloads.md: no load fails because of the browser's storage; the cache can be listed, verified, exported and deleted. */

import type { Page } from '@playwright/test'
import { launchBrowser } from './hub/browser.js'
import { mebibyte, weightsPath } from './hub/files.js'
import { driveHub, expect, test, type HubDriver } from './hub/harness.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'

// Files of 8 MiB and more are hashed in a worker.
const file = syntheticFile(10 * mebibyte, 8)
const small = syntheticFile(8.5 * mebibyte, 2)
/** The file has three of these chunks. */
const chunkBytes = 4 * mebibyte
const settings = { chunkBytes, pieceBytes: mebibyte }
/** The small file has two of these chunks. */
const largeChunks = { chunkBytes: 8 * mebibyte, pieceBytes: mebibyte }

/** Reloads the page. The browser frees the locks of files when the old page's worker has ended. */
async function reloaded({ page }: HubDriver): Promise<void> {
  await page.reload()
  await page.waitForFunction(async () => (await navigator.locks.query()).held?.length === 0)
}

async function setQuota(page: Page, quotaSize?: number): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Storage.overrideQuotaForOrigin', {
    origin: new URL(page.url()).origin,
    ...(quotaSize === undefined ? {} : { quotaSize }),
  })
}

test('promise 7: over quota, a model loads from memory, and the load says so; once there is space, the model is stored', async ({
  server,
  hub,
}) => {
  const file = syntheticFile(40 * mebibyte, 8)
  server.setRepository('owner/name', { [weightsPath]: file })
  await setQuota(hub.page, 18 * mebibyte)
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect(await hub.call('trouble')).toContain('quota-exceeded')
  expect(await hub.progress(weightsPath)).toMatchObject({ phase: 'complete', storage: 'memory' })
  await hub.page.reload()
  await setQuota(hub.page)
  server.clearLog()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  // Which of the three chunks fit depends on the order in which they arrive.
  const kept = await hub.call('totalBytes')
  expect(kept).toBeLessThan(file.size)
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  expect(await hub.progress(weightsPath)).not.toHaveProperty('storage')
  // The chunks that fit are not downloaded again.
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBe(file.size - kept)
  expect(await hub.call('models')).toMatchObject([
    { id: 'owner/name', stored: file.size, files: [{ complete: true, verified: true }] },
  ])
})

test('promise 7: without any space, a model still loads', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: small })
  await setQuota(hub.page, 1)
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(small))
})

test('promise 7: over quota, the least recently used file is evicted, and a file in use is not', async ({ server, pageUrl }) => {
  const names = ['a', 'b', 'c', 'd'] as const
  const files = names.map((_, k) => syntheticFile(5 * mebibyte, 11 + k))
  for (const [k, name] of names.entries()) server.setRepository(`owner/${name}`, { [`${name}.safetensors`]: files[k]! })
  // Use a profile on disk: in a private window Chromium hardly counts Blobs.
  const browser = await launchBrowser()
  try {
    const hub = await driveHub(await browser.newPage(), pageUrl)
    // Set the quota before anything asks for it, because Chromium uses a remembered quota for a while. Two of the files fit.
    await setQuota(hub.page, 13 * mebibyte)
    const begin = () => hub.call('setUp', { chunkBytes: mebibyte, pieceBytes: mebibyte / 2 })
    const load = async (name: string) => {
      await hub.call('open', `owner/${name}`, { endpoint: server.url })
      await hub.call('load', `${name}.safetensors`)
      expect(await hub.progress(`${name}.safetensors`)).not.toHaveProperty('storage')
    }
    const cached = async () => (await hub.call('models')).map((model) => model.id).sort()
    await begin()
    for (const name of ['a', 'b']) await load(name)
    await reloaded(hub)
    await begin()
    await load('a')
    await load('c')
    expect(await cached()).toEqual(['owner/a', 'owner/c'])
    // A closed model is evicted even in the worker that had its Blobs.
    await hub.call('close')
    await load('d')
    expect(await cached()).toEqual(['owner/a', 'owner/d'])
    expect(await hub.call('hash', 'a.safetensors')).toBe(await sha256Of(files[0]!))
    expect(await hub.call('hash', 'd.safetensors')).toBe(await sha256Of(files[3]!))
  } finally {
    await browser.close()
  }
})

for (const broken of ['absent', 'refused', 'blocked'] as const) {
  test(`promise 7: IndexedDB ${broken}: everything loads from memory`, async ({ server, page, pageUrl }) => {
    server.setRepository('owner/name', { [weightsPath]: small })
    const hub = await driveHub(page, pageUrl, broken)
    await hub.call('setUp', { storeOpenMs: 200 })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(small))
    expect(await hub.call('trouble')).toContain('storage-unavailable')
    expect(await hub.progress(weightsPath)).toMatchObject({ storage: 'memory' })
  })
}

for (const [broken, what, kind] of [
  ['blobs', 'a rejected Blob is stored later or in another form', undefined],
  ['noBlobs', 'buffers are stored when Blobs cannot be', 'ArrayBuffer'],
  ['contested', 'Blobs are stored although another tab tests the store at the same time', 'Blob'],
] as const) {
  test(`promise 7: ${what}`, async ({ server, page, pageUrl, newHub }) => {
    server.setRepository('owner/name', { [weightsPath]: small })
    const hub = await driveHub(page, pageUrl, broken)
    await hub.call('setUp', { ...largeChunks, storeRetryMs: [50, 50] })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('trouble')).toEqual([])
    if (kind !== undefined) expect(await storedKinds(page)).toEqual([kind, kind])
    server.clearLog()
    const other = await newHub()
    await other.call('setUp', largeChunks)
    await other.call('open', 'owner/name', { endpoint: server.url })
    await other.call('load', weightsPath)
    expect(await other.call('hash', weightsPath)).toBe(await sha256Of(small))
    expect(server.log).toEqual([])
  })
}

/** The types of the stored chunks: `Blob` or `ArrayBuffer`. */
async function storedKinds(page: Page): Promise<string[]> {
  return page.evaluate(
    async ([success, failure]) => {
      const settled = <T>(request: IDBRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          request.addEventListener(success, () => resolve(request.result))
          request.addEventListener(failure, () => reject(request.error))
        })
      const database = await settled(indexedDB.open('aquatint-chunks'))
      const values = await settled<unknown[]>(database.transaction('chunks').objectStore('chunks').getAll())
      database.close()
      return values.map((value) => Object.prototype.toString.call(value).slice(8, -1))
    },
    ['success', 'error'] as const,
  )
}

/** Clears the storage, as a user does who clears the site's data. */
async function clearStorage(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Storage.clearDataForOrigin', { origin: new URL(page.url()).origin, storageTypes: 'all' })
}

for (const [when, fault, hashed] of [
  ['before anything of it is stored', { match: { host: 'cdn' }, stallAfter: mebibyte / 2 }, 0],
  ['after chunks of it were stored and hashed', { match: { host: 'cdn', covers: 8.5 * mebibyte }, stallAfter: 0 }, 2],
] as const) {
  test(`promise 7: the user clears the storage while a file is written, ${when}`, async ({ server, hub }) => {
    server.setRepository('owner/name', { [weightsPath]: file })
    server.setFaults({ rules: [fault] })
    await hub.call('setUp', settings)
    await hub.call('open', 'owner/name', { endpoint: server.url })
    const loading = hub.call('load', weightsPath)
    // The download waits here until the storage is cleared.
    if (hashed === 0) await hub.reaches(weightsPath, mebibyte / 4)
    else await expect.poll(() => hub.call('recordsAsText')).toContain(`"hashed":{"chunks":${hashed}`)
    expect(await hub.call('totalBytes')).toBe(hashed * chunkBytes)
    await clearStorage(hub.page)
    expect(await hub.call('totalBytes')).toBe(0)
    server.setFaults({})
    server.dropConnections()
    await loading
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
    expect(await hub.call('models')).toMatchObject([{ id: 'owner/name', stored: file.size, files: [{ complete: true }] }])
  })
}

test('promise 7: the user clears the storage while a file is read', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: small })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  await clearStorage(hub.page)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(small))
  await hub.call('load', weightsPath)
  expect(await hub.call('models')).toMatchObject([{ id: 'owner/name', stored: small.size }])
})

test('promise 11: models are listed, verified, exported and deleted', async ({ server, hub }) => {
  const shared = syntheticFile(3 * mebibyte, 1)
  server.setRepository('owner/one', { 'vae/w.safetensors': shared, 'unet/w.safetensors': small, 'unused.bin': 'x' })
  server.setRepository('owner/two', { 'vae.safetensors': shared })
  const before = Date.now()
  await hub.call('setUp', largeChunks)
  await hub.call('open', 'owner/one', { endpoint: server.url })
  await hub.call('load', 'vae/w.safetensors', 'unet/w.safetensors')
  await hub.call('open', 'owner/two', { endpoint: server.url })
  await hub.call('load', 'vae.safetensors')
  const models = await hub.call('models')
  expect(models.map(({ id, stored, revision }) => [id, stored, revision])).toEqual([
    ['owner/two', shared.size, await server.commit('owner/two')],
    ['owner/one', shared.size + small.size, await server.commit('owner/one')],
  ])
  expect(models[1]?.files.map(({ path, size, complete, verified }) => [path, size, complete, verified])).toEqual([
    ['unet/w.safetensors', small.size, true, true],
    ['vae/w.safetensors', shared.size, true, true],
  ])
  expect(models.every((model) => model.lastUsed.getTime() >= before)).toBe(true)
  expect(await hub.call('totalBytes')).toBe(shared.size + small.size)
  expect(await hub.call('verify')).toEqual({ chunks: 3, bad: [] })
  expect(await hub.call('exported', 'owner/one')).toEqual({
    'vae/w.safetensors': await sha256Of(shared),
    'unet/w.safetensors': await sha256Of(small),
  })
  await reloaded(hub)
  // Files that the other model shares are not deleted.
  expect(await hub.call('deleteModel', 'owner/one')).toBe(small.size)
  expect((await hub.call('models')).map((model) => model.id)).toEqual(['owner/two'])
  expect(await hub.call('deleteModel', 'owner/two')).toBe(shared.size)
  expect(await hub.call('totalBytes')).toBe(0)
})
