import { describe, expect, it } from 'vitest'
import { StorageError } from '../errors.js'
import { LayeredStore } from './layered-store.js'
import { MemoryStore } from './memory-store.js'
import { storageError } from './storage-errors.js'

/** A browser's store with room for so many chunks, whatever their size. */
class SmallStore extends MemoryStore {
  room: number
  constructor(room: number) {
    super()
    this.room = room
  }
  override putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.room === 0) return Promise.reject(new StorageError('quota-exceeded', 'full'))
    this.room--
    return super.putChunk(file, index, bytes)
  }
}

const bytes = new Uint8Array([1, 2, 3])

describe('the layered store', () => {
  it('keeps in memory what does not fit, and says so', async () => {
    const kept = new SmallStore(1)
    const trouble: string[] = []
    const store = new LayeredStore(kept, (error) => trouble.push(error.code))
    await store.putChunk('f', 0, bytes)
    expect(store.isInMemory('f')).toBe(false)
    await store.putChunk('f', 1, bytes)
    expect(store.isInMemory('f')).toBe(true)
    expect(trouble).toEqual(['quota-exceeded'])
    expect([...(await store.chunks('f')).keys()]).toEqual([0, 1])
    expect(await kept.chunkIndexes('f')).toEqual([0])
    await store.deleteChunks('f')
    expect(store.isInMemory('f')).toBe(false)
    expect(await store.chunkFiles()).toEqual([])
  })

  it('forgets what is in memory only', async () => {
    const kept = new SmallStore(1)
    const store = new LayeredStore(kept)
    for (const index of [0, 1]) await store.putChunk('f', index, bytes)
    await store.putRecord('file f', 'partial')
    await store.putRecordInMemory('file f', 'complete')
    store.forget('f')
    expect(await store.chunkIndexes('f')).toEqual([0])
    expect(await store.record('file f')).toBe('partial')
    store.forget('f')
    expect(await kept.chunkIndexes('f')).toEqual([0])
  })

  it('makes room once for writes that fail together', async () => {
    const kept = new SmallStore(0)
    const store = new LayeredStore(kept)
    let reclaims = 0
    store.reclaim = async () => {
      reclaims++
      kept.room += 3
      return true
    }
    await Promise.all([0, 1, 2].map((index) => store.putChunk('f', index, bytes)))
    expect(reclaims).toBe(1)
    expect(store.isInMemory('f')).toBe(false)
  })

  it('works without any store', async () => {
    const store = new LayeredStore(undefined)
    await store.putRecord('a b', { x: 1 })
    await store.updateRecord('a b', (old) => ({ ...(old as object), y: 2 }))
    expect(await store.record('a b')).toEqual({ x: 1, y: 2 })
    expect(await store.records('a ')).toHaveLength(1)
    await store.deleteRecord('a b')
    expect(await store.record('a b')).toBeUndefined()
  })
})

it.each([
  [new DOMException('', 'QuotaExceededError'), 'quota-exceeded'],
  [new DOMException('Failed to write blobs (InvalidBlob)', 'DataError'), 'write-failed'],
  [new DOMException('The database connection is closing.', 'InvalidStateError'), 'connection-lost'],
  [
    new DOMException('Connection to Indexed Database server lost. Refresh the page to try again', 'UnknownError'),
    'connection-lost',
  ],
  [new DOMException('', 'NotReadableError'), 'storage-unreadable'],
  [null, 'connection-lost'],
  [new DOMException('', 'SecurityError'), 'storage-failed'],
])('knows %s', (error, code) => expect(storageError(error, 'writing')).toMatchObject({ code, name: 'StorageError' }))
