/** Promise 8 of docs/downloads.md: two tabs share one download, and a file that a tab has open is not evicted. */

import { mebibyte, weightsPath } from '../hub/files.js'
import { sha256Of, syntheticFile } from '../hub-server/repositories.js'
import type { HubServer } from '../hub-server/types.js'
import { expect, test, type HubInTab } from './harness.js'

/** The default settings at an eighth of their size: six chunks may be in flight. */
const settings = { chunkBytes: 2 * mebibyte, pieceBytes: mebibyte, memoryBytes: 12 * mebibyte }
const file = syntheticFile(32 * mebibyte, 8)

const rate = { bytesPerSecond: 2 * mebibyte }
/** The last piece of the file never arrives, so that a download cannot end before the test has seen what it waits for. */
const endless = { ...rate, rules: [{ match: { host: 'cdn', covers: file.size - 1 }, stallAfter: 0 }] } as const

const lastPiece = `bytes=${file.size - mebibyte}-${file.size - 1}`
const openAnswers = (server: HubServer) => server.log.filter(({ end }) => end === undefined).map(({ range }) => range)

/** Opens one repository in all tabs, on a server that sends each answer at 2 MiB/s, and never sends the last piece of the file. */
async function twoTabs(server: HubServer, ...tabs: readonly HubInTab[]): Promise<void> {
  server.setRepository('owner/name', { [weightsPath]: file })
  server.setFaults(endless)
  for (const tab of tabs) {
    await tab.call('setUp', settings)
    await tab.call('open', 'owner/name', { endpoint: server.url })
  }
}

test('promise 8: the second tab waits, sees the progress, and reads the same bytes', async ({ server, newHub }) => {
  const hub = await newHub()
  const other = await newHub()
  await twoTabs(server, hub, other)
  const first = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  const second = other.call('load', weightsPath)
  await other.reaches(weightsPath, file.size / 2)
  expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  expect(await other.progress(weightsPath)).toMatchObject({ phase: 'downloading', total: file.size })
  // Pieces are requested in the order of the file: once only the last answer is open, all others have ended.
  await expect.poll(() => openAnswers(server)).toEqual([lastPiece])
  server.setFaults(rate)
  server.dropConnections()
  await Promise.all([first, second])
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBe(file.size)
  for (const each of [hub, other]) expect(await each.call('hash', weightsPath)).toBe(await sha256Of(file))
})

test('promise 8: the second tab takes over when the first one dies', async ({ server, newHub }) => {
  const hub = await newHub()
  const other = await newHub()
  await twoTabs(server, hub, other)
  hub.call('load', weightsPath).catch(() => {})
  await hub.reaches(weightsPath, mebibyte)
  const second = other.call('load', weightsPath)
  await other.reaches(weightsPath, file.size * 0.7)
  // Once the last piece is requested, the first tab cannot finish, and requests nothing more.
  await expect.poll(() => openAnswers(server)).toContain(lastPiece)
  const { loaded } = await other.progress(weightsPath)
  const asked = server.log.length
  // The new faults apply to later requests only; the request for the last piece stays unanswered until its tab is closed.
  server.setFaults(rate)
  await hub.tab.close()
  await second
  expect(await other.call('hash', weightsPath)).toBe(await sha256Of(file))
  // The first tab's requests were cut off. The server may notice this only after the second tab is done.
  await expect.poll(() => server.log.some(({ aborted, end }) => aborted && end !== undefined)).toBe(true)
  // After the first tab was closed, the second tab requested the file's address.
  const resumed = server.log.findIndex((entry, k) => k >= asked && entry.kind === 'resolve')
  expect(resumed).toBeGreaterThanOrEqual(asked)
  expect(server.log.slice(asked).filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
  // Only what was in flight is downloaded again.
  const fetched = server.log.slice(resumed).reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)
  expect(fetched).toBeLessThanOrEqual(file.size - loaded + settings.memoryBytes)
  expect((await other.progress(weightsPath)).cached).toBeGreaterThanOrEqual(loaded - settings.memoryBytes)
})

test('promise 8: a file that a tab has open is neither deleted nor evicted', async ({ server, newHub }) => {
  const hub = await newHub()
  server.setRepository('owner/name', { [weightsPath]: syntheticFile(mebibyte, 2) })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  const other = await newHub()
  expect(await other.call('deleteModel', 'owner/name')).toBe(0)
  expect(await other.call('evictOldest')).toBeUndefined()
  await hub.call('close')
  // The browser may release the lock of the open file a moment later. A call that is refused deletes nothing.
  await expect.poll(() => other.call('evictOldest')).toBe(mebibyte)
  expect(await other.call('totalBytes')).toBe(0)
})
