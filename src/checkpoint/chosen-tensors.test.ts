/** Weight files of which only some tensors are wanted: which bytes a server sends, what the cache keeps, and how more of a file is fetched later. */

import { expect, onTestFinished, test } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { MemoryStore } from '../hub/cache/memory-store.js'
import { headersOnly } from '../hub/downloads/header-only-file.js'
import { Hub } from '../hub/hub.js'
import { openRepository } from '../hub/repositories/open-repository.js'
import type { OpeningCost } from '../hub/types.js'
import { float32File } from './testing.js'
import { readArrivingTable, readWeightTable, type ReadWeightsOptions } from './weight-table.js'

const id = 'owner/language-model'
const path = 'w.safetensors'
const chunkBytes = 16_384
const settings = { chunkBytes, pieceBytes: 8192, memoryBytes: 4 * chunkBytes, retryBaseMs: 1, maxTries: 2 }
/** 12 tensors, each as large as two chunks. Each lies in three chunks: it fills the middle one, and parts of the two others. */
const file = float32File(Object.fromEntries(Array.from({ length: 12 }, (_, k) => [`layers.${k}.weight`, [64, 128]])))
const files = { kind: 'single', path, variant: null } as const
const isWanted = (name: string) => Number(/\d+/.exec(name)) < 8
const chunks = Math.ceil(file.byteLength / chunkBytes)
/** The chunks up to the end of tensor 7. */
const wantedBytes = (Math.floor((file.byteLength - 4 * 2 * chunkBytes - 1) / chunkBytes) + 1) * chunkBytes

async function setUp() {
  const server = await startHubServer({ repositories: { [id]: { [path]: file } } })
  onTestFinished(() => server.close())
  const store = new MemoryStore()
  const hubs = () => Hub.open({ store, settings })
  /** Bytes of the file that the server has sent, without those that were fetched for its header alone. */
  const fetched = () =>
    server.log.reduce((sum, { host, bytes, range }) => sum + (host === 'cdn' && range !== header ? bytes : 0), 0)
  return { server, store, hubs, fetched, open: async () => openRepository(await hubs(), id, { endpoint: server.url }) }
}

const header = `bytes=0-${(256 << 10) - 1}`
const bytesOf = async (table: Awaited<ReturnType<typeof readWeightTable>>, name: string) => {
  const { source, begin, end } = table.get(name)!
  return Buffer.from(await source.read({ begin, end }))
}
const truth = (at: number) => Buffer.from(file.subarray(file.byteLength - (12 - at) * 2 * chunkBytes).subarray(0, 2 * chunkBytes))

test('only the header and the chunks of wanted tensors are fetched and kept; a tensor that is read later fetches its own chunks', async () => {
  const { server, hubs, fetched, open } = await setUp()
  const progress: number[] = []
  const options: ReadWeightsOptions = { isWanted, onProgress: ({ loaded, total }) => progress.push(loaded, total) }
  const table = await readWeightTable(await open(), files, options)
  expect(fetched()).toBe(wantedBytes)
  expect(progress.slice(-2)).toEqual([wantedBytes, wantedBytes])
  expect((await bytesOf(table, 'layers.7.weight')).equals(truth(7))).toBe(true)
  expect(fetched()).toBe(wantedBytes)
  expect(await (await hubs()).cache.files()).toMatchObject([{ stored: wantedBytes, complete: true, verified: false }])

  // Tensor 11 is in the last three chunks.
  expect((await bytesOf(table, 'layers.11.weight')).equals(truth(11))).toBe(true)
  expect(fetched()).toBe(wantedBytes + 2 * chunkBytes + (file.byteLength % chunkBytes))

  // A later load of the same tensors needs no server.
  await server.close()
  expect((await bytesOf(await readWeightTable(await open(), files, options), 'layers.0.weight')).equals(truth(0))).toBe(true)
})

test('a model that needs more tensors fetches the missing chunks, and the whole file is then compared with its hash', async () => {
  const { hubs, fetched, open } = await setUp()
  await readWeightTable(await open(), files, { isWanted: (name) => name === 'layers.11.weight' })
  const few = fetched()
  expect(few).toBeLessThanOrEqual(4 * chunkBytes)
  await readWeightTable(await open(), files, { isWanted })
  expect(await (await hubs()).cache.files()).toMatchObject([{ verified: false, complete: true }])
  await readWeightTable(await open(), files)
  expect(fetched()).toBe(file.byteLength)
  expect(await (await hubs()).cache.files()).toMatchObject([{ verified: true, complete: true, stored: file.byteLength }])
})

test('a download in part resumes where it stopped, and can be read while it arrives', async () => {
  const { server, fetched, open } = await setUp()
  server.setFaults({ rules: [{ match: { host: 'cdn', covers: 5 * chunkBytes }, skip: 1, status: 500 }] })
  await expect(readWeightTable(await open(), files, { isWanted })).rejects.toMatchObject({ code: 'server-error' })
  server.setFaults({})
  const { table, verified } = await readArrivingTable(await open(), files, { isWanted })
  expect((await bytesOf(table, 'layers.3.weight')).equals(truth(3))).toBe(true)
  await verified()
  // The chunks that were in memory when the download stopped arrive again: at most four.
  expect(fetched()).toBeLessThanOrEqual(wantedBytes + 4 * chunkBytes)
})

test('wrong bytes in a partly stored file are found as soon as the file is whole, those of a lost chunk at once', async () => {
  const { server, store, hubs, open } = await setUp()
  await readWeightTable(await open(), files, { isWanted })
  const [key = ''] = await store.chunkFiles()
  await store.deleteChunks(key, [2])
  server.setFaults({ rules: [{ match: { host: 'cdn', covers: 2 * chunkBytes + 5 }, flipByteAt: 2 * chunkBytes + 5, times: 1 }] })
  // The lost chunk arrives with wrong bytes, so the whole file is fetched again.
  const table = await readWeightTable(await open(), files, { isWanted })
  expect((await bytesOf(table, 'layers.1.weight')).equals(truth(1))).toBe(true)
  await (await hubs()).cache.clear()
  const wrong = 3 * chunkBytes + 7
  server.setFaults({ rules: [{ match: { host: 'cdn', covers: wrong, begin: 3 * chunkBytes }, flipByteAt: wrong, times: 1 }] })
  await readWeightTable(await open(), files, { isWanted })
  const whole = await readWeightTable(await open(), files)
  expect((await bytesOf(whole, 'layers.1.weight')).equals(truth(1))).toBe(true)
  expect(await (await hubs()).cache.files()).toMatchObject([{ verified: true }])
})

test('reading a header says how many bytes opening the file would download, with and without cached chunks', async () => {
  const { open, store } = await setUp()
  const costs: OpeningCost[] = []
  const measure = async (options: ReadWeightsOptions) => {
    await readWeightTable(
      headersOnly(await open(), (cost) => costs.push(cost)),
      files,
      options,
    )
    return costs.at(-1)
  }
  expect(await measure({})).toEqual({ fetched: file.byteLength, kept: file.byteLength })
  expect(await measure({ isWanted })).toEqual({ fetched: wantedBytes, kept: wantedBytes })
  await readWeightTable(await open(), files, { isWanted })
  expect(await measure({ isWanted })).toEqual({ fetched: 0, kept: wantedBytes })
  expect(await measure({})).toEqual({ fetched: file.byteLength - wantedBytes, kept: file.byteLength })
  // A part of a chunk, as an aborted download leaves it, does not count as the chunk.
  const [key = ''] = await store.chunkFiles()
  const index = wantedBytes / chunkBytes
  const ranges = [{ begin: wantedBytes, end: wantedBytes + 10 }]
  await store.putChunk(key, index, new Uint8Array(10))
  await store.putRecord(`file ${key}`, { ...((await store.record(`file ${key}`)) as object), parts: [{ index, ranges }] })
  expect(await measure({})).toEqual({ fetched: file.byteLength - wantedBytes, kept: file.byteLength })
  expect(chunks * chunkBytes).toBeGreaterThan(file.byteLength)
})
