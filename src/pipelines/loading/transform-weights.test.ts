/** Weights that are quantized while they are downloaded over HTTP: when, from which bytes, and what an interruption leaves. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { MemorySource, safetensorsFile } from '../../checkpoint/testing.js'
import type { WeightTable } from '../../checkpoint/types.js'
import { readArrivingTable, readWeightTable } from '../../checkpoint/weight-table.js'
import { deferred } from '../../util/deferred.js'
import { Hub } from '../../hub/hub.js'
import { MemoryStore } from '../../hub/cache/memory-store.js'
import { openRepository } from '../../hub/repositories/open-repository.js'
import { quantizingTransforms } from './dtypes.js'
import { transformWeights } from './transform-weights.js'
import { Run } from '../run.js'

const id = 'owner/weights'
const rows = 256
const columns = 64
const shard = weightsFile()
/** The chunks are small, so that the file has many. */
const settings = { chunkBytes: 16_384, pieceBytes: 8192, memoryBytes: 1 << 18, retryBaseMs: 1 }
const files = { kind: 'single', path: 'w.safetensors', variant: null } as const

/** The position of the byte with sign and exponent of one number. Its tensor comes first, so its codes are stored long before the file's hash is known. */
const wrongByte = shard.byteLength - 4 * (4 * rows * columns + columns) + 4 * 100 + 3
const wrongNumber = { match: { host: 'cdn', covers: wrongByte }, flipByteAt: wrongByte } as const

/** Linear weights and a norm, all numbers finite: 0.26 MB. */
function weightsFile(): Uint8Array<ArrayBuffer> {
  const bytes = 4 * rows * columns
  const header: Record<string, object> = {}
  for (let i = 0; i < 4; i++)
    header[`blocks.${i}.weight`] = { dtype: 'F32', shape: [rows, columns], data_offsets: [i * bytes, (i + 1) * bytes] }
  header['norm.weight'] = { dtype: 'F32', shape: [columns], data_offsets: [4 * bytes, 4 * bytes + 4 * columns] }
  const file = safetensorsFile(header, 4 * bytes + 4 * columns)
  const view = new DataView(file.buffer, file.byteLength - 4 * bytes - 4 * columns)
  for (let i = 0; i < 4 * rows * columns + columns; i++) view.setFloat32(4 * i, Math.sin(i * 12.9898) * 0.05, true)
  return file
}

let server: HubServer
/** Called before the server reads the last 64 KiB of the file. */
let beforeTheEnd: () => Promise<void> = () => Promise.resolve()
beforeEach(async () => {
  beforeTheEnd = () => Promise.resolve()
  const read = async (begin: number, end: number) => {
    if (end > shard.byteLength - 65_536) await beforeTheEnd()
    return shard.subarray(begin, end)
  }
  server = await startHubServer({ repositories: { [id]: { 'w.safetensors': { size: shard.byteLength, read } } } })
  await server.commit(id)
})
afterEach(() => server.close())

/** Downloads and quantizes through a new hub. Returns every tensor's bytes. */
async function quantize(store: MemoryStore, signal?: AbortSignal, wanted: (name: string) => boolean = () => true) {
  const hub = await Hub.open({ store, settings })
  const repository = await openRepository(hub, id, { endpoint: server.url })
  const hex = (await repository.files())[0]?.sha256
  const some = (table: WeightTable): WeightTable => new Map([...table].filter(([name]) => wanted(name)))
  const { table, release } = await transformWeights(
    {
      component: 'unet',
      transforms: quantizingTransforms('q8', undefined),
      label: 'q8',
      contents: [`sha256:${hex}`],
      read: async (reading) => some(await readWeightTable(repository, files, { signal: reading })),
      readArriving: async (reading) => {
        const arriving = await readArrivingTable(repository, files, { signal: reading })
        return { ...arriving, table: some(arriving.table) }
      },
    },
    hub,
    new Run({ signal }),
  )
  const bytes = await bytesOf(table)
  release()
  repository.close()
  return bytes
}

async function bytesOf(table: WeightTable): Promise<Record<string, Uint8Array>> {
  const read = [...table.values()].map(async ({ name, source, begin, end }) => [name, await source.read({ begin, end })] as const)
  return Object.fromEntries(await Promise.all(read))
}

/** The quantized tensors of the complete file, made without a store. */
async function expected(): Promise<Record<string, Uint8Array>> {
  const repository = await openRepository(await Hub.open({ store: null }), id, { endpoint: server.url })
  const read = () => readWeightTable(repository, files)
  const { table } = await transformWeights(
    { component: 'unet', transforms: quantizingTransforms('q8', undefined), label: 'q8', contents: [], read },
    undefined,
    new Run({}),
  )
  return bytesOf(table)
}

const isTrusted = (record: Awaited<ReturnType<typeof recordOf>>) =>
  record?.state === 'complete' && record.provisional === undefined

/** A store whose promise `made` resolves when the first chunk of a quantized copy is stored. */
class WatchedStore extends MemoryStore {
  readonly #begun = deferred()
  readonly made = this.#begun.promise
  override async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await super.putChunk(file, index, bytes)
    if (file.startsWith('prepared:')) this.#begun.resolve()
  }
}

/** Holds the end of the file back until the returned function is called. */
function holdTheEnd(): () => void {
  const { promise, resolve } = deferred()
  beforeTheEnd = () => promise
  return resolve
}

const recordOf = async (store: MemoryStore) => {
  const records = await store.records('file prepared:')
  return records[0]?.[1] as { readonly state: string; readonly provisional?: boolean } | undefined
}

test('the first tensors are quantized and stored while the last ones are still being downloaded', async () => {
  const store = new WatchedStore()
  const wanted = await expected()
  const open = holdTheEnd()
  const quantized = quantize(store)
  await store.made
  expect(await recordOf(store)).toMatchObject({ state: 'partial', provisional: true })
  open()
  expect(await quantized).toEqual(wanted)
  expect(await recordOf(store)).toSatisfy(isTrusted)
  server.clearLog()
  expect(await quantize(store)).toEqual(wanted)
  expect(server.log).toEqual([])
})

test('a prepared file from an unverified download is not used by another run', async () => {
  const store = new WatchedStore()
  const wanted = await expected()
  const open = holdTheEnd()
  const stop = new AbortController()
  const stopped = quantize(store, stop.signal)
  await store.made
  stop.abort()
  await expect(stopped).rejects.toMatchObject({ name: 'AbortError' })
  open()
  const key = (await store.chunkFiles()).find((file) => file.startsWith('prepared:'))
  await store.putChunk(key!, 0, new Uint8Array(16_384))
  expect(await quantize(store)).toEqual(wanted)
})

test('a download with a wrong hash leaves no prepared file', async () => {
  const store = new WatchedStore()
  const wanted = await expected()
  const open = holdTheEnd()
  server.setFaults({ rules: [{ ...wrongNumber, times: 1 }] })
  const quantized = quantize(store)
  await store.made
  open()
  expect(await quantized).toEqual(wanted)
  expect(await recordOf(store)).toSatisfy(isTrusted)
})

test('a download that stays wrong gives the same error as without quantizing', async () => {
  server.setFaults({ rules: [wrongNumber] })
  const store = new MemoryStore()
  await expect(quantize(store)).rejects.toMatchObject({ code: 'hash-mismatch' })
  expect(await store.chunkFiles()).toEqual([])
})

test.each([
  [
    'q8',
    'quantized 08b2419f3977faaec08faaab5361a30139eb520c4a800e0be7d4cd93f4de3c80',
    'prepared:bc9dbe6038bb4b600294bbc876555a668cb59c7fbd0e9a97911e597f2deda137',
  ],
  [
    'q4',
    'quantized 0c0f61fd126cae378d3db9e7ba95fdcbc355e65525b0f3c9a542d1b2bc696f37',
    'prepared:94716f3cfd0456482c71788e9483de6c48de61711eac499fa6675c21a2d338fb',
  ],
] as const)('%s is kept under the keys of its version, so that caches stay valid', async (value, record, file) => {
  const store = new MemoryStore()
  const contentKey = `sha256:${'0'.repeat(64)}`
  const source = Object.assign(new MemorySource(new Uint8Array(128)), { contentKey })
  const table: WeightTable = new Map([
    ['a.weight', { name: 'a.weight', dtype: 'F32', shape: [1, 32], source, begin: 0, end: 128 }],
  ])
  const { release } = await transformWeights(
    {
      component: 'unet',
      transforms: quantizingTransforms(value, undefined),
      label: value,
      contents: [],
      read: () => Promise.resolve(table),
    },
    await Hub.open({ store }),
    new Run({}),
  )
  release()
  expect((await store.records('quantized ')).map(([key]) => key)).toEqual([record])
  expect(await store.chunkFiles()).toEqual([file])
})

const isWanted = (name: string) => !name.startsWith('blocks.0.')

test('a copy with tensors that are no longer read is made again by the load after the cache has lost a part of it', async () => {
  const store = new MemoryStore()
  const all = await quantize(store)
  const key = (await store.chunkFiles()).find((file) => file.startsWith('prepared:'))
  await store.deleteChunks(key!, [0])
  await expect(quantize(store, undefined, isWanted)).rejects.toMatchObject({ code: 'tensor-missing' })
  const kept = Object.entries(all).filter(([name]) => isWanted(name))
  expect(await quantize(store, undefined, isWanted)).toEqual(Object.fromEntries(kept))
})
