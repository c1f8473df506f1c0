import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { syntheticFile } from '../../../e2e/hub-server/repositories.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { HubError } from '../../errors.js'
import { FileLocation } from './file-location.js'
import { Hub } from '../hub.js'
import { MemoryStore } from '../cache/memory-store.js'
import { openRepository } from '../repositories/open-repository.js'
import type { ByteRange } from '../types.js'
import { fetchPiece } from './piece-fetch.js'
import { retrying } from './retry.js'
import { defaultSettings } from '../settings.js'

const settings = { ...defaultSettings, retryBaseMs: 1, retryMaxMs: 2 }
const never = new AbortController().signal
const openHub = () => Hub.open({ store: new MemoryStore(), settings })

let plain: Server | undefined
let server: HubServer | undefined
afterEach(async () => {
  plain?.closeAllConnections()
  plain?.close()
  await server?.close()
  plain = server = undefined
})

describe('tries', () => {
  it('are five when nothing arrives', async () => {
    const hub = await openHub()
    let tries = 0
    const failing = retrying(hub.transport, never, () => {
      tries++
      return Promise.reject(new HubError('network', 'no'))
    })
    await expect(failing).rejects.toMatchObject({ code: 'network' })
    expect(tries).toBe(5)
  })

  it('are counted from zero again after progress', async () => {
    let tries = 0
    const failing = retrying(
      (await openHub()).transport,
      never,
      () => {
        tries++
        return Promise.reject(new HubError('network', 'no'))
      },
      () => tries === 3,
    )
    await expect(failing).rejects.toMatchObject({ code: 'network' })
    expect(tries).toBe(3 - 1 + 5)
  })

  it('are one for a permanent failure', async () => {
    let tries = 0
    const failing = retrying((await openHub()).transport, never, () => {
      tries++
      return Promise.reject(new HubError('file-not-found', 'no'))
    })
    await expect(failing).rejects.toMatchObject({ code: 'file-not-found' })
    expect(tries).toBe(1)
  })
})

describe('a server that sends another range than requested, and says so', () => {
  const size = 300_000
  const requested = { begin: 1000, end: 200_000 }

  /** Fetches a part of a file from a server that widens or cuts each range. */
  async function fetchFrom(sent: (range: ByteRange) => ByteRange): Promise<{ requests: number; bytes: Uint8Array }> {
    const state = { requests: 0, bytes: new Uint8Array(requested.end - requested.begin) }
    const content = Buffer.from(Array.from({ length: size }, (_, index) => index % 251))
    const started = createServer((request, response) => {
      state.requests++
      const [first = 0, last = 0] = (/\d+-\d+/.exec(request.headers.range ?? '')?.[0] ?? '').split('-').map(Number)
      const { begin, end } = sent({ begin: first, end: last + 1 })
      response.writeHead(206, { 'content-range': `bytes ${begin}-${end - 1}/${size}`, 'content-length': end - begin })
      response.end(content.subarray(begin, end))
    })
    plain = started
    await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve))
    const location = new FileLocation(`http://127.0.0.1:${(started.address() as AddressInfo).port}/w`)
    const file = { repository: 'r', path: 'w', size, key: 'k', location }
    const piece = { file, range: requested, target: state.bytes, signal: never, onBytes: () => {} }
    await fetchPiece((await openHub()).transport, piece)
    expect(content.subarray(requested.begin, requested.end).equals(state.bytes)).toBe(true)
    return state
  }

  it.each<[string, (range: ByteRange) => ByteRange]>([
    ['the bytes before it', ({ end }) => ({ begin: 0, end })],
    ['the bytes after it', ({ begin }) => ({ begin, end: size })],
    ['both', () => ({ begin: 0, end: size })],
  ])('more than requested, %s: only the requested bytes are used', async (_, sent) => {
    expect((await fetchFrom(sent)).requests).toBe(1)
  })

  it.each<[string, (range: ByteRange) => ByteRange]>([
    ['its end is missing', ({ begin, end }) => ({ begin, end: end - 1 })],
    ['its beginning is missing', ({ begin, end }) => ({ begin: begin + 1, end })],
    ['only its middle', ({ begin, end }) => ({ begin: begin + 1, end: end - 1 })],
    ['one byte', ({ begin }) => ({ begin, end: begin + 1 })],
    ['another part of the file', ({ end }) => ({ begin: end, end: size })],
  ])('less than requested, %s: an error', async (_, sent) => {
    await expect(fetchFrom(sent)).rejects.toMatchObject({
      code: 'range-not-honoured',
      message: expect.stringMatching(/bytes 1000-199999 were requested; the server sent .*"bytes \d+-\d+\/300000"/) as string,
    })
  })
})

it('an overloaded second host gets fewer requests, and the first host does not', async () => {
  const path = 'w.safetensors'
  server = await startHubServer({ repositories: { 'owner/name': { [path]: syntheticFile(1_000_003, 5) } } })
  server.setFaults({ rules: [{ match: { host: 'cdn' }, times: 1, status: 429, headers: { 'retry-after': '1' } }] })
  const hub = await Hub.open({ store: new MemoryStore(), settings: { ...settings, pieceBytes: 131_072, chunkBytes: 262_144 } })
  const repository = await openRepository(hub, 'owner/name', { endpoint: server.url })
  await repository.open(path)
  const limitOf = (url: string) => hub.transport.connectionsTo(new URL(url).host).limit
  expect([limitOf(server.url), limitOf(server.cdnUrl)]).toEqual([2, 1])
  const [refused, ...later] = server.log.filter((entry) => entry.host === 'cdn')
  expect(refused?.status).toBe(429)
  expect(later.length).toBeGreaterThan(1)
  for (const { time } of later) expect(time - refused!.end!).toBeGreaterThanOrEqual(990)
  // The refused request followed the redirect, so the later requests use its target directly.
  expect(server.log.filter((entry) => entry.kind === 'resolve')).toHaveLength(1)
})
