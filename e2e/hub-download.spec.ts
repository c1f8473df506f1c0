/** Issue 3, promises 1, 2, 3, 5 and 9: parallel, from the Hub, checked, stored once, and there without a network. */

import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readRepository } from './fixture-repository.js'
import { large, mebibyte, sha256, weightsPath } from './hub/files.js'
import { launchBrowser } from './hub/browser.js'
import { driveHub, expect, test } from './hub/harness.js'
import { syntheticFile } from './hub-server/repositories.js'

test('1, 2, 3, 9: a large file comes in parallel, checked, and is there offline after a restart', async ({ server, pageUrl }) => {
  server.setRepository('owner/large', { 'model_index.json': '{}', [weightsPath]: large })
  server.setFaults({ bytesPerSecond: 8 * mebibyte })
  const browser = await launchBrowser()
  try {
    const hub = await driveHub(await browser.newPage(), pageUrl)
    const empty = await bytesUnder(browser.profile)
    await hub.call('open', 'owner/large', { endpoint: server.url })
    expect(await hub.call('load', weightsPath)).toEqual([large.size])
    expect(await hub.call('hash', weightsPath)).toBe(await sha256(large))
    expect(await hub.call('trouble')).toEqual([])
    expect(await hub.call('memoryPeak')).toBeLessThanOrEqual(112 * mebibyte)
    const asked = server.log.filter((entry) => entry.file === weightsPath && entry.kind === 'file')
    expect(Math.max(...asked.map((entry) => entry.concurrency))).toBeGreaterThanOrEqual(4)
    expect(asked.reduce((sum, entry) => sum + entry.bytes, 0)).toBe(large.size)
    expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
    // The profile holds the file once: no second copy in the HTTP cache.
    const stored = (await bytesUnder(browser.profile)) - empty
    expect(stored).toBeGreaterThanOrEqual(large.size)
    expect(stored).toBeLessThan(large.size * 1.05)
    await server.close()
    await browser.restart()
    const again = await driveHub(await browser.newPage(), pageUrl)
    await again.call('open', 'owner/large', { endpoint: server.url })
    expect(await again.call('load', weightsPath)).toEqual([large.size])
    expect(await again.call('hash', weightsPath)).toBe(await sha256(large))
    expect(await again.progress(weightsPath)).toMatchObject({ phase: 'complete', cached: large.size })
  } finally {
    await browser.close()
  }
})

test('1: shards are fetched side by side', async ({ server, hub }) => {
  const shards = Array.from({ length: 4 }, (_, k) => [`unet/shard-${k}.safetensors`, syntheticFile(2 * mebibyte, k + 1)] as const)
  server.setRepository('owner/shards', Object.fromEntries(shards))
  server.setFaults({ bytesPerSecond: mebibyte })
  await hub.call('open', 'owner/shards', { endpoint: server.url })
  await hub.call('load', ...shards.map(([path]) => path))
  const spans = server.log.filter((entry) => entry.host === 'cdn').map(({ time, end }) => ({ time, end: end ?? Infinity }))
  const most = Math.max(...spans.map(({ time }) => spans.filter((other) => other.time <= time && other.end > time).length))
  expect(most).toBeGreaterThanOrEqual(4)
})

test('3: wrong bytes are never taken: fetched again once, then refused, with nothing left behind', async ({ server, hub }) => {
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
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
})

for (const broken of ['noWorkers', 'deadWorkers', 'dyingWorkers'] as const) {
  test(`3: a large file is checked without a thread for it (${broken})`, async ({ server, newHub }) => {
    const file = syntheticFile(70 * mebibyte, 9)
    server.setRepository('owner/name', { [weightsPath]: file })
    const hub = await newHub(broken)
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
    expect((await hub.call('models'))[0]?.files[0]).toMatchObject({ complete: true, verified: true })
    // Nothing that was stored is fetched again: at most what was on its way.
    const sent = server.log.filter((entry) => entry.host === 'cdn').reduce((sum, entry) => sum + entry.bytes, 0)
    expect(sent).toBeLessThanOrEqual(file.size + (broken === 'dyingWorkers' ? 6 * 16 * mebibyte : 0))
    await hub.page.reload()
    server.setFaults({ rules: [{ match: { host: 'cdn' }, flipByteAt: 60 * mebibyte }] })
    const other = syntheticFile(70 * mebibyte, 10)
    server.setRepository('owner/name', { [weightsPath]: other })
    await hub.call('open', 'owner/name', { endpoint: server.url, revalidate: true })
    expect((await hub.failure('load', weightsPath)).code).toBe('hash-mismatch')
  })
}

test('3: a chunk that went bad or missing in the cache is fetched again, and no other', async ({ server, hub }) => {
  const file = syntheticFile(40 * mebibyte, 9)
  server.setRepository('owner/bad', { [weightsPath]: file })
  await hub.call('open', 'owner/bad', { endpoint: server.url })
  await hub.call('load', weightsPath)
  for (const spoil of ['corrupt', 'loseChunk'] as const) {
    await hub.call(spoil, weightsPath, 1)
    const { chunks, bad } = await hub.call('verify')
    expect([chunks, bad]).toEqual(spoil === 'corrupt' ? [3, [{ path: weightsPath, index: 1 }]] : [2, []])
    server.clearLog()
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
    expect(server.log.filter((entry) => entry.host === 'cdn').reduce((sum, entry) => sum + entry.bytes, 0)).toBe(16 * mebibyte)
  }
})

test('2: a gated repository opens with its token, which is stored and sent nowhere else', async ({ hub, server }) => {
  const { startHubServer } = await import('./hub-server/server.js')
  const gated = await startHubServer({
    repositories: { 'owner/gated': { 'config.json': '{}', [weightsPath]: syntheticFile(mebibyte) } },
    gated: { 'owner/gated': 'hf_secret_token' },
  })
  try {
    expect(server.url).not.toBe(gated.url)
    expect((await hub.failure('open', 'owner/gated', { endpoint: gated.url })).code).toBe('gated')
    const refused = await hub.failure('open', 'owner/gated', { endpoint: gated.url, token: 'hf_wrong_token' })
    expect(refused.code).toBe('gated')
    expect(JSON.stringify(refused)).not.toContain('hf_wrong_token')
    await hub.call('open', 'owner/gated', { endpoint: gated.url, token: 'hf_secret_token' })
    await hub.call('load', weightsPath, 'config.json')
    expect(gated.log.some((entry) => entry.host === 'cdn' && entry.authorized)).toBe(false)
    const records = await hub.call('recordsAsText')
    expect(records).toContain('owner/gated')
    expect(records).not.toContain('hf_secret_token')
    expect(records).not.toContain('X-Amz-Signature')
  } finally {
    await gated.close()
  }
})

test('2: a static host, without a listing and with one', async ({ server, hub }) => {
  const file = syntheticFile(3 * mebibyte, 4)
  const index = '{"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"]}'
  const files = { 'model_index.json': index, [weightsPath]: file }
  server.setRepository('owner/plain', files)
  const base = server.staticUrl('owner/plain')
  // Found by their names: also where the host's "no" is withheld from other origins, and where it is the page of a site.
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
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  expect((await hub.failure('load', 'none.json')).code).toBe('file-not-found')
  server.clearLog()
  await hub.call('open', base, {})
  await hub.call('load', 'model_index.json', weightsPath)
  expect(server.log).toEqual([])
  expect((await hub.call('open', base, {})).files).toEqual(found)
  expect(server.log).toEqual([])
  const listing = { files: [{ path: weightsPath, size: file.size, sha256: await sha256(file) }] }
  server.setRepository('owner/listed', { ...files, 'files.json': JSON.stringify(listing) })
  expect((await hub.call('open', server.staticUrl('owner/listed'), {})).files).toEqual(listing.files)
  await hub.call('load', weightsPath)
  expect(await hub.call('models')).toHaveLength(2)
})

test('2: a folder of the File System Access API is read where it lies', async ({ hub }) => {
  const files = { 'model_index.json': '{"a": 1}', 'unet/config.json': '{"b": 22}' }
  expect(await hub.call('openFolder', files)).toEqual([
    { path: 'model_index.json', size: 8 },
    { path: 'unet/config.json', size: 9 },
  ])
  await hub.call('load', 'unet/config.json')
  expect(await hub.call('read', 'unet/config.json', 6, 8)).toEqual([...Buffer.from('22')])
  expect((await hub.failure('load', 'vae/config.json')).code).toBe('file-not-found')
  expect(await hub.call('totalBytes')).toBe(0)
  // What was picked is not what is there now.
  await hub.call('openFolder', { 'unet/config.json': '{"b": 333}' })
  expect((await hub.failure('read', 'unet/config.json', 6, 8)).code).toBe('file-changed')
})

for (const way of ['dropped on the page', 'picked in a file input']) {
  test(`2: a folder ${way} is read where it lies`, async ({ hub }) => {
    const fixture = resolve('fixtures/tiny-sd15/repo')
    if (way.startsWith('dropped')) {
      // As the browser itself does when a reader lets go of a folder; no script can make such an event.
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

test('5: the same content in two repositories is fetched and stored once', async ({ server, hub }) => {
  const vae = syntheticFile(20 * mebibyte, 6)
  server.setRepository('owner/one', { 'vae/model.safetensors': vae, 'vae/config.json': '{"x": 1}' })
  server.setRepository('owner/two', { 'other/vae.safetensors': vae, 'other/config.json': '{"x": 1}' })
  await hub.call('open', 'owner/one', { endpoint: server.url })
  await hub.call('load', 'vae/model.safetensors', 'vae/config.json')
  server.clearLog()
  await hub.call('open', 'owner/two', { endpoint: server.url })
  await hub.call('load', 'other/vae.safetensors', 'other/config.json')
  expect(server.log.filter((entry) => entry.kind === 'file' || entry.kind === 'resolve')).toEqual([])
  expect(await hub.call('hash', 'other/vae.safetensors')).toBe(await sha256(vae))
  expect(await hub.call('totalBytes')).toBe(vae.size + 8)
})

async function bytesUnder(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const sizes = await Promise.all(
    entries.filter((entry) => entry.isFile()).map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
