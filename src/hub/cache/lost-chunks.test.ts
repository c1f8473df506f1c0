/** Chunks that are cleared, lost, replaced or damaged while a file is written or read: the reader gets the right bytes, or an error code. */

import { afterEach, describe, expect, it } from 'vitest'
import { syntheticFile } from '../../../e2e/hub-server/repositories.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { CheckpointError } from '../../errors.js'
import { Hub } from '../hub.js'
import { MemoryStore } from './memory-store.js'
import { openRepository } from '../repositories/open-repository.js'
import type { ByteSource } from '../types.js'

const chunkBytes = 131_072
const settings = { chunkBytes, pieceBytes: 65_536, memoryBytes: 524_288, retryBaseMs: 1, retryMaxMs: 5 }
const weights = syntheticFile(1_000_003, 5)
const path = 'unet/w.safetensors'
const chunks = [0, 1, 2, 3, 4, 5, 6, 7]

let server: HubServer
afterEach(() => server.close())

async function setUp(store: MemoryStore) {
  server = await startHubServer({ repositories: { 'owner/name': { [path]: weights } } })
  const hub = await Hub.open({ store, settings })
  return { hub, repository: await openRepository(hub, 'owner/name', { endpoint: server.url }) }
}

const broken = () => Promise.reject(new DOMException('', 'NotReadableError'))
const read = async (source: ByteSource) => Buffer.from(await source.read({ begin: 0, end: source.byteLength }))
const truth = async (file = weights) => Buffer.from(await file.read(0, file.size))
const fetched = () => server.log.reduce((sum, entry) => sum + (entry.host === 'cdn' ? entry.bytes : 0), 0)

async function keyIn(store: MemoryStore): Promise<string> {
  const [key] = await store.chunkFiles()
  return key ?? ''
}

async function clear(store: MemoryStore): Promise<void> {
  for (const key of await store.chunkFiles()) await store.deleteChunks(key)
  for (const [key] of await store.records('')) await store.deleteRecord(key)
}

/** How many chunks of the only file are hashed, according to its record. */
async function hashedIn(store: MemoryStore): Promise<number> {
  const [record] = await store.records('file ')
  return (record?.[1] as { hashed?: { chunks: number } } | undefined)?.hashed?.chunks ?? 0
}

describe('storage that is cleared while a file is written', () => {
  it.each([
    ['before a chunk is stored', { stallAfter: 1000 }, 0],
    ['after chunks were stored and hashed', { match: { host: 'cdn', covers: 3 * chunkBytes }, stallAfter: 0 }, 3],
  ] as const)('%s', async (_, fault, stored) => {
    const store = new MemoryStore()
    const { hub, repository } = await setUp(store)
    server.setFaults({ rules: [{ match: { host: 'cdn' }, ...fault }] })
    const opening = repository.open(path)
    await expect.poll(() => store.records('file '), { interval: 5 }).toHaveLength(1)
    await expect.poll(() => hashedIn(store), { interval: 5 }).toBe(stored)
    await expect.poll(() => server.log.some((entry) => entry.host === 'cdn'), { interval: 5 }).toBe(true)
    await clear(store)
    server.setFaults({})
    server.dropConnections()
    expect((await read(await opening)).equals(await truth())).toBe(true)
    expect(await hub.cache.files()).toMatchObject([{ complete: true, verified: true, stored: weights.size }])
    expect(fetched()).toBeGreaterThanOrEqual(weights.size + stored * chunkBytes)
  })

  it('again and again ends the download with an error', async () => {
    class LeakyStore extends MemoryStore {
      override async putRecord(key: string, value: unknown) {
        await super.putRecord(key, value)
        if ((value as { state?: string }).state === 'complete') await clear(this)
      }
    }
    const { repository } = await setUp(new LeakyStore())
    await expect(repository.open(path)).rejects.toMatchObject({ code: 'storage-unreadable' })
  })
})

/** A complete file whose fourth chunk is lost. */
async function lose() {
  const store = new MemoryStore()
  const { repository } = await setUp(store)
  await repository.open(path)
  const key = await keyIn(store)
  await store.deleteChunks(key, [3])
  server.clearLog()
  return { store, repository, key }
}

describe('a lost chunk of a complete file', () => {
  const flipByteAt = 3 * chunkBytes + 70_000

  it('is downloaded once more when it arrives wrong, and no other chunk is', async () => {
    const { repository } = await lose()
    server.setFaults({ rules: [{ match: { host: 'cdn', covers: flipByteAt }, times: 1, flipByteAt }] })
    expect((await read(await repository.open(path))).equals(await truth())).toBe(true)
    expect(fetched()).toBe(2 * chunkBytes)
  })

  it('arrives wrong each time: an error, and the other chunks are kept', async () => {
    const { store, repository, key } = await lose()
    server.setFaults({ rules: [{ match: { host: 'cdn' }, flipByteAt }] })
    await expect(repository.open(path)).rejects.toMatchObject({ code: 'hash-mismatch' })
    expect(await store.chunkIndexes(key)).toEqual(chunks.filter((index) => index !== 3))
    server.setFaults({})
    server.clearLog()
    expect((await read(await repository.open(path))).equals(await truth())).toBe(true)
    expect(fetched()).toBe(chunkBytes)
  })

  it('is downloaded again when only its end cannot be read', async () => {
    class HalfBlob extends Blob {
      override slice(begin = 0, end = this.size) {
        const part = super.slice(begin, end)
        return end > 100_000 ? Object.assign(part, { arrayBuffer: broken }) : part
      }
    }
    const spoilt = new Set<number>()
    class SpoiltStore extends MemoryStore {
      override async chunk(file: string, index: number) {
        const blob = await super.chunk(file, index)
        return blob !== undefined && spoilt.has(index) ? new HalfBlob([blob]) : blob
      }
      override async chunks(file: string) {
        const found = await super.chunks(file)
        for (const index of found.keys()) found.set(index, (await this.chunk(file, index))!)
        return found
      }
      override putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>) {
        spoilt.delete(index)
        return super.putChunk(file, index, bytes)
      }
    }
    const { repository } = await setUp(new SpoiltStore())
    await repository.open(path)
    spoilt.add(3)
    const source = await repository.open(path)
    server.clearLog()
    expect((await read(source)).equals(await truth())).toBe(true)
    expect(fetched()).toBe(chunkBytes)
  })
})

describe('a file that was opened in part', () => {
  /** `choose` checks the first byte of the file, then chooses this byte and the byte at `begin`, which is in the sixth chunk. */
  const begin = 5 * chunkBytes + 1
  const choose = async (source: ByteSource) => {
    const [byte] = await source.read({ begin: 0, end: 1 })
    if (byte !== (await truth())[0]) throw new CheckpointError('safetensors-header', 'The header is damaged.')
    return [
      { begin: 0, end: 1 },
      { begin, end: begin + 1 },
    ]
  }

  it('has its damaged header downloaded again', async () => {
    const store = new MemoryStore()
    const { repository } = await setUp(store)
    await repository.open(path, { choose })
    const key = await keyIn(store)
    const header = new Uint8Array((await truth()).subarray(0, chunkBytes))
    header[0] = ~(header[0] ?? 0)
    await store.putChunk(key, 0, header)
    const source = await repository.open(path, { choose })
    expect((await source.read({ begin: 0, end: 1 }))[0]).toBe((await truth())[0])
    expect((await store.chunkIndexes(key)).toSorted((a, b) => a - b)).toEqual([0, 5])
  })

  it('is refused when its header is wrong as the server has it', async () => {
    const { repository } = await setUp(new MemoryStore())
    await repository.open(path, { choose })
    const error = new CheckpointError('safetensors-header', 'The header is wrong.')
    await expect(repository.open(path, { choose: () => Promise.reject(error) })).rejects.toBe(error)
  })

  it('and that was replaced on its host is downloaded again in chunks of the current settings', async () => {
    const store = new MemoryStore()
    const { hub } = await setUp(store)
    const base = server.staticUrl('owner/name')
    const repository = await openRepository(hub, base)
    await repository.open(path, { choose })
    repository.close()
    const later = syntheticFile(weights.size, 6)
    server.setRepository('owner/name', { [path]: later })
    const small = { ...settings, chunkBytes: chunkBytes / 2 }
    const other = await openRepository(await Hub.open({ store, settings: small }), base, { revalidate: true })
    await other.open(path, { choose: () => Promise.resolve([{ begin, end: begin + 1 }]) })
    expect(await store.chunkIndexes(await keyIn(store))).toEqual([10])
  })
})

it('a chunk whose repair was aborted does not count as stored', async () => {
  const { store, key } = await lose()
  const begin = 3 * chunkBytes
  await store.updateRecord(`file ${key}`, (record) => ({
    ...(record as object),
    parts: [{ index: 3, ranges: [{ begin, end: begin + 1000 }] }],
  }))
  await store.putChunk(key, 3, new Uint8Array(1000))
  const hub = await Hub.open({ store, settings })
  expect(await hub.cache.files()).toMatchObject([{ complete: false, stored: weights.size - chunkBytes + 1000 }])
})

describe('a file without a hash', () => {
  it('that another tab replaces is not repaired with bytes of the new content', async () => {
    const store = new MemoryStore()
    const { hub } = await setUp(store)
    const base = server.staticUrl('owner/name')
    const repository = await openRepository(hub, base)
    const source = await repository.open(path)
    const later = syntheticFile(weights.size, 6)
    server.setRepository('owner/name', { [path]: later })
    const other = await openRepository(await Hub.open({ store, settings }), base, { revalidate: true })
    expect((await read(await other.open(path))).equals(await truth(later))).toBe(true)
    // An open file keeps its Blobs.
    expect((await read(source)).equals(await truth())).toBe(true)
    repository.close()
    await expect(read(source)).rejects.toMatchObject({ code: 'file-changed', details: { path } })
    expect((await read(await (await openRepository(hub, base)).open(path))).equals(await truth(later))).toBe(true)
  })

  it('that was cleared is downloaded again if the host still has the same content', async () => {
    const store = new MemoryStore()
    const { hub } = await setUp(store)
    const repository = await openRepository(hub, server.staticUrl('owner/name'))
    const source = await repository.open(path)
    repository.close()
    await clear(store)
    expect((await read(source)).equals(await truth())).toBe(true)
    await clear(store)
    server.setRepository('owner/name', { [path]: syntheticFile(weights.size, 6) })
    await expect(read(source)).rejects.toMatchObject({ code: 'file-changed' })
  })
})

it('a file that nothing uses any more references no Blobs, so that their disk space can be freed', async () => {
  let reads = 0
  class CountingStore extends MemoryStore {
    override chunk(file: string, index: number) {
      reads++
      return super.chunk(file, index)
    }
  }
  const { hub, repository } = await setUp(new CountingStore())
  const sources = [await repository.open(path), await repository.open(path)]
  const elsewhere = await openRepository(hub, 'owner/name', { endpoint: server.url })
  sources.push(await elsewhere.open(path))
  reads = 0
  for (const source of sources) await read(source)
  repository.close()
  for (const source of sources) await read(source)
  expect(reads).toBe(0)
  elsewhere.close()
  for (const source of sources) expect((await read(source)).equals(await truth())).toBe(true)
  expect(reads).toBe(sources.length * chunks.length)
})
