/** Issue 3, promise 8: two tabs make one download; what a tab has open is not evicted. */

import { mebibyte, sha256, weightsPath } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(64 * mebibyte, 8)

test('8: the second tab waits, sees progress, and reads the same bytes', async ({ server, hub, newHub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: 4 * mebibyte })
  const other = await newHub()
  for (const each of [hub, other]) await each.call('open', 'owner/name', { endpoint: server.url })
  const first = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 4 * mebibyte)
  const second = other.call('load', weightsPath)
  await other.reaches(weightsPath, file.size / 2)
  expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  expect(await other.progress(weightsPath)).toMatchObject({ phase: 'downloading', total: file.size })
  await Promise.all([first, second])
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBe(file.size)
  for (const each of [hub, other]) expect(await each.call('hash', weightsPath)).toBe(await sha256(file))
})

test('8: the second tab takes over within a second when the first one dies', async ({ server, hub, newHub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults({ bytesPerSecond: 4 * mebibyte })
  const other = await newHub()
  for (const each of [hub, other]) await each.call('open', 'owner/name', { endpoint: server.url })
  hub.call('load', weightsPath).catch(() => {})
  await hub.reaches(weightsPath, mebibyte)
  const second = other.call('load', weightsPath)
  // Six pieces of 8 MiB come side by side: by now they are through.
  await other.reaches(weightsPath, 54 * mebibyte)
  server.clearLog()
  const before = performance.now()
  await hub.page.close()
  await expect.poll(() => server.log.filter((entry) => entry.host === 'hub').length, { intervals: [10] }).toBe(1)
  expect(performance.now() - before).toBeLessThan(1000)
  await second
  const fetched = server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)
  expect(fetched).toBeLessThanOrEqual(file.size - 32 * mebibyte)
  expect(await other.call('hash', weightsPath)).toBe(await sha256(file))
})

test('8: a file that a tab has open is neither deleted nor evicted', async ({ server, hub, newHub }) => {
  server.setRepository('owner/name', { [weightsPath]: syntheticFile(mebibyte, 2) })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  const other = await newHub()
  expect(await other.call('deleteModel', 'owner/name')).toBe(0)
  expect(await other.call('evictOldest')).toBe(false)
  await hub.call('close')
  expect(await other.call('evictOldest')).toBe(true)
  expect(await other.call('totalBytes')).toBe(0)
})
