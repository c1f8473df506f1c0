import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { StorageError } from '../../errors.js'
import { nextTurn } from '../../util/next-turn.js'
import { ChunkWriter } from './chunk-writer.js'
import { FileHasher, type CreateHasher } from '../cache/file-hasher.js'
import { LayeredStore } from '../cache/layered-store.js'
import { DownloadMemory } from './download-memory.js'
import { MemoryStore } from '../cache/memory-store.js'
import type { StoredFile } from '../stored-file.js'

const first = new Uint8Array([1, 2, 3, 4])
const second = new Uint8Array([5, 6])
const fileOf = (key: string, validator?: string): StoredFile => ({ repository: 'r', path: 'w', size: 6, key, validator })
const openWriter = (store: LayeredStore, file: StoredFile) => ChunkWriter.open({ store, file, chunkBytes: 4, now: 0 })

describe('a download without a hash', () => {
  it.each([
    ['a commit', fileOf('commit:https://h/a/b@0/w'), [1]],
    ['an address with a validator', fileOf('url:https://h/w', '"1"'), [1]],
    ['an address without a validator', fileOf('url:https://h/w'), [0, 1]],
  ])('of %s resumes only if its content is known to be the same', async (_, file, missing) => {
    const store = new LayeredStore(new MemoryStore())
    await (await openWriter(store, file)).put(0, first.slice())
    expect((await openWriter(store, file)).missing).toEqual(missing)
  })

  it('of an address does not resume when the validator has changed', async () => {
    const store = new LayeredStore(new MemoryStore())
    await (await openWriter(store, fileOf('url:https://h/w', '"1"'))).put(0, first.slice())
    expect((await openWriter(store, fileOf('url:https://h/w', '"2"'))).missing).toEqual([0, 1])
  })

  it('can be repaired when the worker died after storing a chunk and before storing its digest', async () => {
    const store = new LayeredStore(new MemoryStore())
    const file = fileOf('commit:https://h/a/b@0/w')
    const stopped = await openWriter(store, file)
    await stopped.put(1, second.slice())
    await store.putChunk(file.key, 0, first)
    const resumed = await openWriter(store, file)
    expect(resumed.missing).toEqual([])
    await resumed.finish(0, () => {})
    await store.deleteChunks(file.key, [0])
    const repairing = await openWriter(store, file)
    await repairing.put(0, first.slice())
    expect(repairing.missing).toEqual([])
    await expect((await openWriter(store, file)).put(0, second.slice())).rejects.toMatchObject({ code: 'hash-mismatch' })
  })
})

describe('a download that resumes', () => {
  const content = Uint8Array.of(...first, ...second)
  const hash = { algorithm: 'sha256', hex: createHash('sha256').update(content).digest('hex') } as const
  const hashed: StoredFile = { repository: 'r', path: 'w', size: 6, key: 'sha256:w', hash }

  it('resumes the hash from its saved state, and reads no chunk back', async () => {
    let read = 0
    class CountingStore extends MemoryStore {
      override chunk(file: string, index: number) {
        read++
        return super.chunk(file, index)
      }
    }
    const store = new LayeredStore(new CountingStore())
    const stopped = await openWriter(store, hashed)
    await stopped.put(0, first.slice())
    const states: (Uint8Array | undefined)[] = []
    const createHasher: CreateHasher = (algorithm, size, state) => {
      states.push(state)
      return FileHasher.create(algorithm, size, state)
    }
    const resumed = await ChunkWriter.open({ store, file: hashed, chunkBytes: 4, now: 0, createHasher })
    await resumed.put(1, second.slice())
    await resumed.finish(0, () => {})
    const expected = await FileHasher.create('sha256', 6)
    await expected.update(first)
    expect(states).toEqual([expected.save()])
    expect(read).toBe(0)
  })

  it('deletes nothing when the record cannot be read, and stays in memory until that is freed', async () => {
    let isReadable = false
    class UnreadableStore extends MemoryStore {
      override record(key: string) {
        return isReadable ? super.record(key) : Promise.reject(new StorageError('storage-failed', 'no'))
      }
    }
    const kept = new UnreadableStore()
    isReadable = true
    await (await openWriter(new LayeredStore(kept), hashed)).put(0, first.slice())
    const before = await kept.record('file sha256:w')
    const store = new LayeredStore(kept)
    isReadable = false
    const isolated = await openWriter(store, hashed)
    expect(isolated.missing).toEqual([0, 1])
    await isolated.put(0, first.slice())
    await isolated.put(1, second.slice())
    await isolated.finish(0, () => {})
    expect([store.isInMemory(hashed.key), [...(await store.chunks(hashed.key)).keys()]]).toEqual([true, [0, 1]])
    isReadable = true
    expect([await kept.chunkIndexes(hashed.key), await kept.record('file sha256:w')]).toEqual([[0], before])
    store.releaseMemory(hashed.key)
    expect((await openWriter(store, hashed)).missing).toEqual([1])
  })
})

it('hashes and stores no more chunks at once than the limit allows', async () => {
  let [now, most] = [0, 0]
  class SlowStore extends MemoryStore {
    override async putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>) {
      most = Math.max(most, ++now)
      await nextTurn()
      await super.putChunk(file, index, bytes)
      now--
    }
  }
  const file: StoredFile = { repository: 'r', path: 'w', size: 32, key: 'commit:https://h/a/b@0/w' }
  const store = new LayeredStore(new SlowStore())
  const writer = await ChunkWriter.open({ store, file, chunkBytes: 4, now: 0, copyMemory: new DownloadMemory(8) })
  await Promise.all(Array.from({ length: 8 }, (_, index) => writer.put(index, first.slice())))
  expect(most).toBe(2)
  expect(writer.missing).toEqual([])
})

it('releases chunks that the hash cannot reach, because one before them is not wanted: other files may wait for the memory', async () => {
  const hash = { algorithm: 'sha256', hex: '0'.repeat(64) } as const
  const file: StoredFile = { repository: 'r', path: 'w', size: 24, key: 'sha256:w', hash }
  const store = new LayeredStore(new MemoryStore())
  const writer = await ChunkWriter.open({ store, file, chunkBytes: 4, now: 0, wanted: new Set([0, 1, 3, 4]) })
  const released: number[] = []
  for (const index of [1, 3, 4, 0]) await writer.put(index, first.slice(), () => released.push(index))
  // Chunk 1 waits until chunk 0 has arrived.
  expect(released).toEqual([3, 4, 0, 1])
  writer.close()
})

describe('what an aborted download leaves of a chunk', () => {
  const file = fileOf('commit:https://h/a/b@0/w')
  const ranges = [
    { begin: 0, end: 1 },
    { begin: 2, end: 3 },
  ]
  async function aborted(): Promise<LayeredStore> {
    const store = new LayeredStore(new MemoryStore())
    const writer = await openWriter(store, file)
    await writer.put(1, second.slice())
    await writer.keepParts([{ index: 0, ranges, bytes: first }])
    return store
  }

  it('is counted, is not present, and is given to the next download', async () => {
    const writer = await openWriter(await aborted(), file)
    expect(writer.missing).toEqual([0])
    expect(writer.bytesPresent).toBe(second.length + 2)
    const target = new Uint8Array(4)
    expect(await writer.takePart(0, target)).toEqual(ranges)
    expect([...target]).toEqual([1, 0, 3, 0])
  })

  it('is forgotten once the chunk is whole', async () => {
    const store = await aborted()
    await (await openWriter(store, file)).put(0, first.slice())
    const writer = await openWriter(store, file)
    expect(writer.missing).toEqual([])
    expect(writer.bytesPresent).toBe(file.size)
  })

  it.each([
    ['a Blob of another length', async (store: LayeredStore) => store.putChunk(file.key, 0, first.slice(0, 3))],
    ['a Blob that is gone', async (store: LayeredStore) => store.deleteChunks(file.key, [0])],
  ])('is not taken from %s', async (_, spoil) => {
    const store = await aborted()
    await spoil(store)
    const target = new Uint8Array(4)
    const writer = await openWriter(store, file)
    expect(writer.missing).toEqual([0])
    expect(await writer.takePart(0, target)).toEqual([])
    expect([...target]).toEqual([0, 0, 0, 0])
  })

  it.each([
    ['outside the chunk', [{ begin: 2, end: 5 }]],
    ['over each other', [ranges[0], { begin: 0, end: 2 }]],
    ['of no bytes', [{ begin: 1, end: 1 }]],
    ['without numbers', [{ begin: '0', end: 1 }]],
  ])('is not taken by ranges %s', async (_, wrong) => {
    const store = await aborted()
    const key = 'file commit:https://h/a/b@0/w'
    await store.putRecord(key, { ...((await store.record(key)) as object), parts: [{ index: 0, ranges: wrong }] })
    expect((await openWriter(store, file)).bytesPresent).toBe(second.length)
  })
})
