/** Two tabs share one download, and files that a tab has open are not evicted (docs/downloads.md). */

import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test, type HubDriver } from './hub/harness.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'
import type { HubServer } from './hub-server/types.js'

/** The usual settings, an eighth of their size: six chunks are what may be on its way. */
const settings = { chunkBytes: 2 * mebibyte, pieceBytes: mebibyte, memoryBytes: 12 * mebibyte }
const file = syntheticFile(32 * mebibyte, 8)

/** Two tabs that have the same repository open, on a server that gives each answer two mebibytes a second. */
async function twoTabs(server: HubServer, ...tabs: readonly HubDriver[]): Promise<void> {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: 2 * mebibyte })
  for (const tab of tabs) {
    await tab.call('setUp', settings)
    await tab.call('open', 'owner/name', { endpoint: server.url })
  }
}

test('the second tab waits, sees progress, and reads the same bytes', async ({ server, hub, newHub }) => {
  const other = await newHub()
  await twoTabs(server, hub, other)
  const first = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  const second = other.call('load', weightsPath)
  await other.reaches(weightsPath, file.size / 2)
  expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  expect(await other.progress(weightsPath)).toMatchObject({ phase: 'downloading', total: file.size })
  await Promise.all([first, second])
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBe(file.size)
  for (const each of [hub, other]) expect(await each.call('hash', weightsPath)).toBe(await sha256Of(file))
})

test('the second tab takes over when the first one dies', async ({ server, hub, newHub }) => {
  const other = await newHub()
  await twoTabs(server, hub, other)
  hub.call('load', weightsPath).catch(() => {})
  await hub.reaches(weightsPath, mebibyte)
  const second = other.call('load', weightsPath)
  await other.reaches(weightsPath, file.size * 0.7)
  const { loaded } = await other.progress(weightsPath)
  const asked = server.log.length
  await hub.page.close()
  await second
  expect(await other.call('hash', weightsPath)).toBe(await sha256Of(file))
  // The second tab asks for the file's address itself, once, and only when the first one's requests have broken off.
  expect(server.log.some((entry) => entry.aborted)).toBe(true)
  const resumed = server.log.findIndex((entry, k) => k >= asked && entry.kind === 'resolve')
  expect(resumed).toBeGreaterThanOrEqual(asked)
  expect(server.log.slice(asked).filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  // What was on its way is fetched again, and nothing else.
  const fetched = server.log.slice(resumed).reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)
  expect(fetched).toBeLessThanOrEqual(file.size - loaded + settings.memoryBytes)
  expect((await other.progress(weightsPath)).cached).toBeGreaterThanOrEqual(loaded - settings.memoryBytes)
})

test('a file that a tab has open is neither deleted nor evicted', async ({ server, hub, newHub }) => {
  server.setRepository('owner/name', { [weightsPath]: syntheticFile(mebibyte, 2) })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  const other = await newHub()
  expect(await other.call('deleteModel', 'owner/name')).toBe(0)
  expect(await other.call('evictOldest')).toBeUndefined()
  await hub.call('close')
  expect(await other.call('evictOldest')).toBe(mebibyte)
  expect(await other.call('totalBytes')).toBe(0)
})
