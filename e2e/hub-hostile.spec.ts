/** Issue 3, promise 6: whatever a server does, right bytes come out or an error that says what is wrong, in bounded tries. */

import { mebibyte, sha256, weightsPath } from './hub/files.js'
import { expect, test, type HubDriver } from './hub/harness.js'
import type { Fault, Faults, HubServer } from './hub-server/types.js'
import { syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(5 * mebibyte + 777, 8)
const settings = { chunkBytes: mebibyte, pieceBytes: mebibyte / 2, stallMs: 5000, retryBaseMs: 10, retryMaxMs: 40 }
/** Pieces under way (while one waits for its next try, another one takes its lane), times tries of each. */
const mostRequests = 12 * 5

const cdn = { host: 'cdn' } as const
type Case = readonly [what: string, rules: readonly Fault[], error?: string | undefined, bytesPerSecond?: number]

const cases: readonly Case[] = [
  ['Range is ignored', [{ match: cdn, ignoreRange: true }]],
  ['Range is ignored now and then', [{ match: cdn, skip: 2, times: 1, ignoreRange: true }]],
  [
    'Range is ignored, and the connection cut',
    [
      { match: cdn, times: 3, ignoreRange: true, cutAfter: 2.5 * mebibyte },
      { match: cdn, ignoreRange: true },
    ],
  ],
  ['Range is ignored, and the body gzipped', [{ match: cdn, ignoreRange: true, gzip: true }]],
  ['another range is sent, once', [{ match: cdn, times: 1, contentRange: 'bytes 5-9/10' }]],
  ['another range is sent, always', [{ match: cdn, contentRange: 'bytes 5-9/10' }], 'range-not-honoured'],
  ['Content-Range is nonsense', [{ match: cdn, contentRange: 'bytes everything' }], 'range-not-honoured'],
  ['Content-Range is missing', [{ match: cdn, contentRange: 'missing' }]],
  [
    'the file is longer than it was listed',
    [{ match: { ...cdn, begin: 0 }, contentRange: `bytes 0-524287/${file.size + 1}` }],
    'size-mismatch',
  ],
  ['bodies are cut after a part', [{ match: cdn, cutAfter: 100_000 }], undefined, mebibyte],
  ['bodies are cut at once', [{ match: cdn, cutAfter: 10 }], 'network'],
  ['bodies end early in good form', [{ match: cdn, endAfter: 100_000 }]],
  ['bodies end at once in good form', [{ match: cdn, endAfter: 10 }], 'short-body'],
  ['bodies are gzipped', [{ match: cdn, gzip: true }]],
  ['416', [{ match: cdn, status: 416 }], 'size-mismatch'],
  ['404 on the second host', [{ match: cdn, status: 404 }], 'file-not-found'],
  ['503 three times', [{ match: cdn, times: 3, status: 503 }]],
  ['503 always', [{ match: cdn, status: 503 }], 'server-error'],
  ['429 always', [{ match: cdn, status: 429 }], 'rate-limited'],
  ['silence in the middle of two bodies', [{ match: cdn, skip: 1, times: 2, stallAfter: 1000 }]],
  ['silence always', [{ match: cdn, stallAfter: 0 }], 'stalled'],
  ['the signed address expires', [{ match: cdn, skip: 4, times: 1, expired: true }]],
  ['the signed address is never good', [{ match: cdn, expired: true }], 'url-expired'],
  ['a byte is wrong', [{ match: { ...cdn, covers: 9 }, flipByteAt: 9 }], 'hash-mismatch'],
  ['the Hub is busy for a while', [{ match: { host: 'hub' }, times: 2, status: 502 }]],
]

/** Opens a repository with the file on a server that gives a mebibyte a second. */
async function openSlowly(server: HubServer, hub: HubDriver, faults: Faults = {}, base?: string): Promise<void> {
  server.setRepository('owner/name', { [weightsPath]: file })
  await hub.call('setUp', settings)
  server.setFaults({ bytesPerSecond: mebibyte, ...faults })
  await hub.call('open', base ?? 'owner/name', base === undefined ? { endpoint: server.url } : {})
}

/** Loads one content under one misbehaviour; `seed` makes it a content of its own, so that nothing of it is cached. */
async function misbehaves(
  server: HubServer,
  hub: HubDriver,
  seed: number,
  [what, rules, code, bytesPerSecond]: Case,
): Promise<void> {
  const content = syntheticFile(file.size, seed)
  const id = `owner/case-${seed}`
  const silent = rules.some((rule) => rule.stallAfter !== undefined)
  await hub.call('setUp', silent ? { ...settings, stallMs: 500 } : settings)
  server.setRepository(id, { [weightsPath]: content })
  const { revision } = await hub.call('open', id, { endpoint: server.url })
  expect(revision).toBe(await server.commit(id))
  server.clearLog()
  server.setFaults({ rules, ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }) })
  if (code !== undefined) {
    const failure = await hub.failure('load', weightsPath)
    expect([failure.kind, failure.code], what).toEqual(['HubError', code])
    expect(failure.message).toContain(id)
    expect(server.log.filter((entry) => entry.host === 'cdn').length).toBeLessThanOrEqual(mostRequests)
    const here = (await hub.call('models')).filter((model) => model.id === id).flatMap((model) => model.files)
    expect(here.filter((each) => each.complete)).toEqual([])
    server.setFaults({})
  }
  // Nothing wrong counts as here: the same again, from a good server where it was refused, has the right bytes.
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath), what).toBe(await sha256(content))
}

test('6: every misbehaviour ends in right bytes or in an error with a code', async ({ server, hub }) => {
  for (const [k, each] of cases.entries()) await test.step(each[0], () => misbehaves(server, hub, k + 1, each))
})

test('6: a wait that the server asks for is kept, and fewer requests run after it', async ({ server, hub }) => {
  server.setRepository('owner/name', { [weightsPath]: file })
  await hub.call('setUp', settings)
  server.setFaults({ rules: [{ match: cdn, times: 1, status: 429, headers: { 'retry-after': '1' } }] })
  await hub.call('open', 'owner/name', { endpoint: server.url })
  await hub.call('load', weightsPath)
  const refused = server.log.find((entry) => entry.status === 429)
  const later = server.log.filter((entry) => entry.time > refused!.end!)
  expect(later.length).toBeGreaterThanOrEqual(5)
  expect(Math.min(...later.map((entry) => entry.time)) - refused!.end!).toBeGreaterThanOrEqual(990)
  expect(Math.max(...later.map((entry) => entry.concurrency))).toBe(1)
})

test('6: addresses that expire again and again are asked for again', async ({ server, hub }) => {
  await openSlowly(server, hub, { urlSeconds: 0.4 })
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  expect(server.log.filter((entry) => entry.kind === 'resolve').length).toBeGreaterThanOrEqual(2)
})

test('6: a file that is replaced on a plain host comes whole and new, never mixed', async ({ server, hub }) => {
  const later = syntheticFile(file.size, 99)
  await openSlowly(server, hub, {}, server.staticUrl('owner/name'))
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.setRepository('owner/name', { [weightsPath]: later })
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(later))
})

test('6: a branch that moves during a download does not change what is downloaded', async ({ server, hub }) => {
  await openSlowly(server, hub)
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.setRepository('owner/name', { [weightsPath]: syntheticFile(file.size, 99) })
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
})

test('6: connections that are all cut are taken up again', async ({ server, hub }) => {
  await openSlowly(server, hub)
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.dropConnections()
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
})

test('6: an abort ends every request at once, and keeps what was stored', async ({ server, hub }) => {
  await openSlowly(server, hub)
  const loading = hub.failure('load', weightsPath)
  await hub.reaches(weightsPath, 3.5 * mebibyte)
  await hub.call('abort')
  expect((await loading).kind).toBe('AbortError')
  await expect.poll(() => server.log.filter((entry) => entry.end === undefined), { intervals: [10], timeout: 1000 }).toEqual([])
  server.setFaults({})
  server.clearLog()
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256(file))
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBeLessThanOrEqual(
    file.size - mebibyte,
  )
})
