/** Promise 6 of docs/downloads.md: whatever a server does, a load ends with the right bytes or with an error code, after a limited number of requests. */

import { mebibyte, weightsPath } from './hub/files.js'
import { expect, test, type HubDriver } from './hub/harness.js'
import type { Fault, Faults, HubServer } from './hub-server/types.js'
import { sha256Of, syntheticFile } from './hub-server/repositories.js'

const file = syntheticFile(5 * mebibyte + 777, 8)
/** The hub waits ten minutes for a silent server, because a busy machine may be slow; tests of silence wait less. */
const settings = { chunkBytes: mebibyte, pieceBytes: mebibyte / 2, stallMs: 600_000, retryBaseMs: 10, retryMaxMs: 40 }
/** The most requests of a load: 12 pieces in flight (while one waits for its retry, another uses its connection), with five tries each. */
const mostRequests = 12 * 5

const cdn = { host: 'cdn' } as const

interface Case {
  readonly what: string
  readonly rules: readonly Fault[]
  /** Code of the error that the load ends with; absent when it ends with the right bytes. */
  readonly error?: string
  readonly bytesPerSecond?: number
  /** Allows few pieces in flight, because it takes long until each one has failed. */
  readonly slow?: true
  /** How often the file's address is requested, if the test is about that. */
  readonly resolved?: number
}

/** Faults of servers, grouped by what the server does wrong. */
const kinds: Readonly<Record<string, readonly Case[]>> = {
  'ranges that are ignored': [
    { what: 'always', rules: [{ match: cdn, ignoreRange: true }] },
    { what: 'once', rules: [{ match: cdn, skip: 2, times: 1, ignoreRange: true }] },
    {
      what: 'and connections that are cut off',
      rules: [
        { match: cdn, times: 3, ignoreRange: true, cutAfter: 2.5 * mebibyte },
        { match: cdn, ignoreRange: true },
      ],
    },
    { what: 'and compressed bodies', rules: [{ match: cdn, ignoreRange: true, gzip: true }], slow: true },
  ],
  'answers that do not match the request': [
    { what: 'another range, once', rules: [{ match: cdn, times: 1, contentRange: 'bytes 5-9/10' }] },
    { what: 'another range, always', rules: [{ match: cdn, contentRange: 'bytes 5-9/10' }] },
    {
      what: 'a Content-Range that cannot be parsed',
      rules: [{ match: cdn, contentRange: 'bytes everything' }],
    },
    { what: 'no Content-Range', rules: [{ match: cdn, contentRange: 'missing' }] },
    {
      what: 'a file that is longer than listed',
      rules: [{ match: { ...cdn, begin: 0 }, contentRange: `bytes 0-524287/${file.size + 1}` }],
      error: 'size-mismatch',
    },
    { what: 'a wrong byte', rules: [{ match: { ...cdn, covers: 9 }, flipByteAt: 9 }], error: 'hash-mismatch' },
  ],
  'bodies that end too early': [
    { what: 'cut off after a part', rules: [{ match: cdn, cutAfter: 400_000 }], bytesPerSecond: 400_000 },
    { what: 'cut off at once', rules: [{ match: cdn, cutAfter: 10 }], error: 'network' },
    { what: 'ended properly after a part', rules: [{ match: cdn, endAfter: 100_000 }] },
    { what: 'ended properly at once', rules: [{ match: cdn, endAfter: 10 }], error: 'short-body' },
    { what: 'compressed', rules: [{ match: cdn, gzip: true }], slow: true },
  ],
  'error statuses': [
    { what: '416', rules: [{ match: cdn, status: 416 }], error: 'size-mismatch' },
    { what: '404 on the second host', rules: [{ match: cdn, status: 404 }], error: 'file-not-found' },
    { what: '503 three times', rules: [{ match: cdn, times: 3, status: 503 }] },
    { what: '503 always', rules: [{ match: cdn, status: 503 }], error: 'server-error' },
    { what: '429 always', rules: [{ match: cdn, status: 429 }], error: 'rate-limited' },
    { what: '502 from the Hub, twice', rules: [{ match: { host: 'hub' }, times: 2, status: 502 }] },
  ],
  'silent servers': [
    { what: 'in the middle of two bodies', rules: [{ match: cdn, skip: 1, times: 2, stallAfter: 1000 }] },
    { what: 'always', rules: [{ match: cdn, stallAfter: 0 }], error: 'stalled', slow: true },
  ],
  'signed addresses': [
    { what: 'that expire', rules: [{ match: cdn, skip: 4, times: 1, expired: true }], resolved: 2 },
    { what: 'that are never valid', rules: [{ match: cdn, expired: true }], error: 'url-expired' },
  ],
}

/** The file's last piece never arrives, so a download cannot end by itself. */
const endless = { rules: [{ match: { begin: 5 * mebibyte }, stallAfter: 0 }] } as const

/** Opens a repository with the file, on a server with these faults that sends 1 MiB/s for each answer. */
async function openSlowly(server: HubServer, hub: HubDriver, faults: Faults, base?: string): Promise<void> {
  server.setRepository('owner/name', { [weightsPath]: file })
  await hub.call('setUp', settings)
  server.setFaults({ bytesPerSecond: mebibyte, ...faults })
  await hub.call('open', base ?? 'owner/name', base === undefined ? { endpoint: server.url } : {})
}

/** Loads a file under one fault. Each `seed` gives other content, so that none of it is cached. */
async function misbehaves(server: HubServer, hub: HubDriver, seed: number, each: Case): Promise<void> {
  const { what, rules, error, bytesPerSecond, slow, resolved } = each
  const content = syntheticFile(file.size, seed)
  const id = `owner/case-${seed}`
  const silent = rules.some((rule) => rule.stallAfter !== undefined)
  const few = slow === true ? { maxConnections: 2, maxStreams: 2 } : {}
  await hub.call('setUp', { ...settings, ...few, stallMs: silent ? 2000 : settings.stallMs })
  server.setRepository(id, { [weightsPath]: content })
  const { revision } = await hub.call('open', id, { endpoint: server.url })
  expect(revision).toBe(await server.commit(id))
  server.clearLog()
  server.setFaults({ rules, ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }) })
  if (error !== undefined) {
    const failure = await hub.failure('load', weightsPath)
    expect([failure.kind, failure.code], what).toEqual(['HubError', error])
    expect(failure.message).toContain(id)
    expect(server.log.filter((entry) => entry.host === 'cdn').length).toBeLessThanOrEqual(mostRequests)
    const here = (await hub.call('models')).filter((model) => model.id === id).flatMap((model) => model.files)
    expect(here.filter((each) => each.complete)).toEqual([])
    server.setFaults({})
  }
  // After an error, load again from a healthy server: no wrong byte may be stored. In a case without an error, load under the fault.
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath), what).toBe(await sha256Of(content))
  if (resolved !== undefined) expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(resolved)
}

for (const [kind, cases] of Object.entries(kinds)) {
  test(`promise 6: ${kind}: the right bytes, or an error with a code`, async ({ server, hub }) => {
    for (const [k, each] of cases.entries()) await test.step(each.what, () => misbehaves(server, hub, k + 1, each))
  })
}

for (const status of [429, 503]) {
  test(`promise 6: a wait that the server requests (${status}) is kept, and fewer requests run afterwards`, async ({
    server,
    hub,
  }) => {
    server.setRepository('owner/name', { [weightsPath]: file })
    await hub.call('setUp', { ...settings, maxConnections: 2, maxStreams: 2 })
    // The server first sends three good answers, so late that two run at once.
    const late = { match: cdn, times: 3, delayMs: 3000 }
    const refusal = { match: cdn, times: 1, status, headers: { 'retry-after': '1' } }
    server.setFaults({ bytesPerSecond: 4 * mebibyte, rules: [late, refusal] })
    await hub.call('open', 'owner/name', { endpoint: server.url })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
    const asked = server.log.filter((entry) => entry.host === 'cdn')
    const refused = asked.find((entry) => entry.status === status)
    const most = (entries: typeof asked) => Math.max(...entries.map((entry) => entry.concurrency))
    expect(most(asked.filter((entry) => entry.time < refused!.end!))).toBe(2)
    const later = asked.filter((entry) => entry.time > refused!.end!)
    // The other connection may have sent one request before the client read the refusal.
    const early = later.filter((entry) => entry.time - refused!.end! < 990)
    expect(early.length).toBeLessThanOrEqual(1)
    const afterwards = later.filter((entry) => !early.includes(entry))
    expect(afterwards.length).toBeGreaterThanOrEqual(5 - early.length)
    expect(most(afterwards.filter((entry) => early.every(({ end }) => entry.time > end!)))).toBe(1)
  })
}

for (const bareErrors of [false, true]) {
  const withheld = bareErrors ? ', though the browser withholds their refusal' : ''
  test(`promise 6: signed addresses that expire again and again are requested again${withheld}`, async ({ server, hub }) => {
    const expired = [2, 6].map((skip) => ({ match: cdn, skip, times: 1, expired: true }))
    await openSlowly(server, hub, { rules: expired, bareErrors })
    await hub.call('load', weightsPath)
    expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
    expect(server.log.some((entry) => entry.host === 'cdn' && entry.status === 403)).toBe(true)
    expect(server.log.filter((entry) => entry.kind === 'resolve').length).toBeGreaterThanOrEqual(2)
  })
}

test('promise 6: a file that is replaced on a plain web server loads as the new version, never as a mixture', async ({
  server,
  hub,
}) => {
  const later = syntheticFile(file.size, 99)
  await openSlowly(server, hub, endless, server.staticUrl('owner/name'))
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.setRepository('owner/name', { [weightsPath]: later })
  server.setFaults({})
  server.dropConnections()
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(later))
})

test('promise 6: a branch that moves during a download does not change what is downloaded', async ({ server, hub }) => {
  await openSlowly(server, hub, endless)
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.setRepository('owner/name', { [weightsPath]: syntheticFile(file.size, 99) })
  server.setFaults({})
  server.dropConnections()
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
})

test('promise 6: a download resumes after all its connections were closed', async ({ server, hub }) => {
  await openSlowly(server, hub, endless)
  const loading = hub.call('load', weightsPath)
  await hub.reaches(weightsPath, 2 * mebibyte)
  server.setFaults({})
  server.dropConnections()
  await loading
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
})

test('promise 6: an abort ends every request at once, and keeps every byte that has arrived', async ({ server, hub }) => {
  await openSlowly(server, hub, endless)
  const loading = hub.failure('load', weightsPath)
  await hub.reaches(weightsPath, 3.5 * mebibyte)
  await expect
    .poll(() => server.log.some(({ range, end }) => range === `bytes=${5 * mebibyte}-${file.size - 1}` && end === undefined))
    .toBe(true)
  await hub.call('abort')
  expect((await loading).kind).toBe('AbortError')
  await expect.poll(() => server.log.filter((entry) => entry.end === undefined)).toEqual([])
  expect(server.log.some((entry) => entry.aborted)).toBe(true)
  server.setFaults({})
  server.clearLog()
  await hub.call('load', weightsPath)
  expect(await hub.call('hash', weightsPath)).toBe(await sha256Of(file))
  // Even the part of an incomplete chunk that had arrived is not downloaded again.
  expect(server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)).toBeLessThanOrEqual(
    file.size - 3.5 * mebibyte,
  )
})
