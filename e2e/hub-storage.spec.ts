/** Issue 3, promises 7 and 11: trouble with the browser's storage loses nothing; the cache can be looked at, checked, emptied, given out. */

import type { Page } from '@playwright/test'
import { launchBrowser } from './hub/browser.js'
import { mebibyte, sha256, weightsPath } from './hub/files.js'
import { driveHub, expect, test } from './hub/harness.js'
import { syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(40 * mebibyte, 8)
const small = syntheticFile(20 * mebibyte, 2)

async function setQuota(page: Page, quotaSize?: number): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Storage.overrideQuotaForOrigin', {
    origin: new URL(page.url()).origin,
    ...(quotaSize === undefined ? {} : { quotaSize }),
  })
}

test('7: over quota, the model is run from memory, and says so; with room again it is kept', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  await setQuota(hub.page, 18 * mebibyte)
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  expect(await hub.call('trouble')).toContain('quota-exceeded')
  expect(await hub.progress(weightsPath)).toMatchObject({ phase: 'complete', storage: 'memory' })
  await hub.page.reload()
  await setQuota(hub.page)
  server.clearLog()
  await hub.call('open', 'owner/name', { endpoint: server.url })
  // Which of the three chunks came in time to fit is not the same each time.
  const kept = await hub.call('totalBytes')
  expect([8, 16, 24].map((size) => size * mebibyte)).toContain(kept)
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  expect(await hub.progress(weightsPath)).not.toHaveProperty('storage')
  // What had fitted is not fetched again.
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBe(file.size - kept)
  expect(await hub.call('models')).toMatchObject([
    { id: 'owner/name', stored: file.size, files: [{ complete: true, verified: true }] },
  ])
})

test('7: with no room at all, a model still loads', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: small })
  await setQuota(hub.page, 1)
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(small))
})

test('7: over quota, the file used longest ago makes room, and one in use does not', async ({ server, pageUrl }) => {
  const files = { a: syntheticFile(20 * mebibyte, 11), b: syntheticFile(20 * mebibyte, 12), c: syntheticFile(20 * mebibyte, 13) }
  for (const [name, content] of Object.entries(files)) server.setRepository(`owner/${name}`, { [`${name}.safetensors`]: content })
  // A profile on disk: in a private window Chromium hardly counts Blobs.
  const browser = await launchBrowser()
  try {
    const hub = await driveHub(await browser.newPage(), pageUrl)
    // From the start: Chromium goes by a remembered quota for a while.
    await setQuota(hub.page, 50 * mebibyte)
    const load = async (name: string) => {
      await hub.call('open', `owner/${name}`, { endpoint: server.url })
      await hub.call('load', `${name}.safetensors`)
    }
    for (const name of ['a', 'b']) {
      await load(name)
    }
    await hub.page.reload()
    await load('a')
    await load('c')
    expect((await hub.call('models')).map((model) => model.id).sort()).toEqual(['owner/a', 'owner/c'])
    expect(await hub.progress('c.safetensors')).not.toHaveProperty('storage')
    expect(await hub.call('hash', 'a.safetensors')).toBe(await sha256(files.a))
    expect(await hub.call('hash', 'c.safetensors')).toBe(await sha256(files.c))
  } finally {
    await browser.close()
  }
})

for (const broken of ['absent', 'refused', 'blocked'] as const) {
  test(`7: IndexedDB ${broken}: everything runs from memory`, async ({ server, page, pageUrl }) => {
    server.setRepository('owner/name', { [weightsPath]: small })
    const hub = await driveHub(page, pageUrl, broken)
    await hub.call('setUp', { storeOpenMs: 200 })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256(small))
    expect(await hub.call('trouble')).toContain('storage-unavailable')
    expect(await hub.progress(weightsPath)).toMatchObject({ storage: 'memory' })
  })
}

for (const broken of ['blobs', 'noBlobs'] as const) {
  test(`7: ${broken === 'blobs' ? 'a Blob that is refused is stored later, in another form' : 'where no Blob can be stored, buffers are'}`, async ({
    server,
    page,
    pageUrl,
    newHub,
  }) => {
    server.setRepository('owner/name', { [weightsPath]: small })
    const hub = await driveHub(page, pageUrl, broken)
    await hub.call('setUp', { storeRetryMs: [50, 50] })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('trouble')).toEqual([])
    server.clearLog()
    const other = await newHub()
    await other.call('open', 'owner/name', { endpoint: server.url })
    await other.call('load', weightsPath)
    expect(await other.call('hash', weightsPath)).toBe(await sha256(small))
    expect(server.log).toEqual([])
  })
}

test('7: storage that is cleared while a file is written, and while it is read', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: 4 * mebibyte })
  const session = await hub.page.context().newCDPSession(hub.page)
  const clear = () => session.send('Storage.clearDataForOrigin', { origin: new URL(hub.page.url()).origin, storageTypes: 'all' })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 20 * mebibyte)
  await clear()
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  server.setFaults({})
  await clear()
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  await hub.call('load', weightsPath)
  expect(await hub.call('models')).toMatchObject([{ id: 'owner/name', stored: file.size }])
})

test('11: lists, checks, gives out and deletes models', async ({ server, hub }) => {
  const shared = syntheticFile(3 * mebibyte, 1)
  server.setRepository('owner/one', { 'vae/w.safetensors': shared, 'unet/w.safetensors': small, 'unused.bin': 'x' })
  server.setRepository('owner/two', { 'vae.safetensors': shared })
  const before = Date.now()
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
    'vae/w.safetensors': await sha256(shared),
    'unet/w.safetensors': await sha256(small),
  })
  await hub.page.reload()
  // What the other model has too stays.
  expect(await hub.call('deleteModel', 'owner/one')).toBe(small.size)
  expect((await hub.call('models')).map((model) => model.id)).toEqual(['owner/two'])
  expect(await hub.call('deleteModel', 'owner/two')).toBe(shared.size)
  expect(await hub.call('totalBytes')).toBe(0)
})
