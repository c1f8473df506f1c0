import { afterEach, describe, expect, it, vi } from 'vitest'
import { StorageError } from '../../errors.js'
import { LayeredStore } from './layered-store.js'
import { MemoryStore } from './memory-store.js'
import { storageError } from './shard-cache.js'

afterEach(() => {
  vi.useRealTimers()
})

/** A browser's store that accepts a limited number of chunks of any size. */
class SmallStore extends MemoryStore {
  freeChunks: number
  /** Whether the store rejects records too. */
  isFull = false
  constructor(freeChunks: number) {
    super()
    this.freeChunks = freeChunks
  }
  override putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.freeChunks === 0) return Promise.reject(new StorageError('quota-exceeded', 'full'))
    this.freeChunks--
    return super.putChunk(file, index, bytes)
  }
  override putRecord(key: string, value: unknown): Promise<void> {
    return this.isFull ? Promise.reject(new StorageError('quota-exceeded', 'full')) : super.putRecord(key, value)
  }
  override updateRecord(key: string, change: (old: unknown) => unknown): Promise<void> {
    return this.isFull ? Promise.reject(new StorageError('quota-exceeded', 'full')) : super.updateRecord(key, change)
  }
}

const bytes = new Uint8Array([1, 2, 3])
const mustNotEvict = () => Promise.reject(new Error('Nothing may be evicted for this'))
const unreadable = () => Promise.reject(new StorageError('storage-failed', 'no'))

describe('the layered store', () => {
  it('keeps chunks that do not fit in memory, and reports the error', async () => {
    const kept = new SmallStore(1)
    const trouble: string[] = []
    const store = new LayeredStore(kept, { onTrouble: (error) => trouble.push(error.code) })
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

  it('frees what is in memory only', async () => {
    const kept = new SmallStore(1)
    const store = new LayeredStore(kept)
    for (const index of [0, 1]) await store.putChunk('f', index, bytes)
    await store.putRecord('file f', 'partial')
    await store.putRecordInMemory('file f', 'complete')
    store.releaseMemory('f')
    expect(await store.chunkIndexes('f')).toEqual([0])
    expect(await store.record('file f')).toBe('partial')
    store.releaseMemory('f')
    expect(await kept.chunkIndexes('f')).toEqual([0])
  })

  it('evicts once for writes that fail together', async () => {
    const kept = new SmallStore(0)
    let evictions = 0
    const evict = async () => {
      evictions++
      kept.freeChunks += 3
      return 9
    }
    const store = new LayeredStore(kept, { evict })
    await Promise.all([0, 1, 2].map((index) => store.putChunk('f', index, bytes)))
    expect(evictions).toBe(1)
    expect(store.isInMemory('f')).toBe(false)
  })

  it('evicts nothing for the update of a record, and does not hide the record behind a copy in memory', async () => {
    const kept = new SmallStore(0)
    const store = new LayeredStore(kept, { evict: mustNotEvict })
    await store.putRecord('file f', 'old')
    kept.isFull = true
    await store.updateRecord('file f', () => 'new')
    expect(await store.record('file f')).toBe('old')
    await kept.deleteRecord('file f')
    expect(await store.record('file f')).toBeUndefined()
  })

  it('evicts for a new record, and keeps it in memory when nothing can be evicted', async () => {
    const kept = new SmallStore(0)
    kept.isFull = true
    let evictable: number | undefined
    const evict = async () => {
      kept.isFull = evictable === undefined
      return evictable
    }
    const store = new LayeredStore(kept, { evict })
    await store.updateRecord('file f', () => 1)
    expect([await store.record('file f'), await kept.record('file f')]).toEqual([1, undefined])
    evictable = 100
    await store.updateRecord('file g', () => 2)
    expect(await kept.record('file g')).toBe(2)
  })

  it('evicts no more than a write needs, even if the write still fails', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    let evictions = 0
    const evict = async () => {
      evictions++
      return 4 << 20
    }
    const store = new LayeredStore(new SmallStore(0), { evict })
    const writing = Promise.all([0, 1, 2].map((index) => store.putChunk('f', index, bytes)))
    await vi.advanceTimersByTimeAsync(60_000)
    await writing
    await store.putChunk('f', 3, bytes)
    expect(evictions).toBe(1)
    expect([...(await store.chunks('f')).keys()]).toEqual([0, 1, 2, 3])
  })

  it('waits until the space of evicted files is free', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    const kept = new SmallStore(0)
    const evict = async () => {
      setTimeout(() => (kept.freeChunks = 1), 3000)
      return 4 << 20
    }
    const store = new LayeredStore(kept, { evict })
    const writing = store.putChunk('f', 0, bytes)
    await vi.advanceTimersByTimeAsync(4000)
    await writing
    expect(await kept.chunkIndexes('f')).toEqual([0])
  })

  it('evicts nothing when the records cannot be read', async () => {
    const store = new LayeredStore(new SmallStore(0), { evict: unreadable })
    await store.putChunk('f', 0, bytes)
    expect(store.isInMemory('f')).toBe(true)
  })

  it('distinguishes unreadable records from missing ones for callers that delete', async () => {
    const kept = new SmallStore(1)
    const store = new LayeredStore(kept)
    await store.putChunk('f', 0, bytes)
    await store.putRecord('file f', 1)
    Object.assign(kept, { record: unreadable, records: unreadable, chunkFiles: unreadable, chunkIndexes: unreadable })
    expect(await store.record('file f')).toBeUndefined()
    for (const reading of [store.recordOrThrow('file f'), store.records('file '), store.chunkFiles(), store.chunkIndexes('f')])
      await expect(reading).rejects.toMatchObject({ code: 'storage-failed' })
  })

  it('works without a browser store', async () => {
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
  [
    new DOMException('A mutation operation was attempted on a database that did not allow mutations.', 'InvalidStateError'),
    'quota-exceeded',
  ],
  [new DOMException('Failed to write blobs (InvalidBlob)', 'DataError'), 'write-failed'],
  [new DOMException('The database connection is closing.', 'InvalidStateError'), 'connection-lost'],
  [
    new DOMException('Connection to Indexed Database server lost. Refresh the page to try again', 'UnknownError'),
    'connection-lost',
  ],
  [new DOMException('', 'NotReadableError'), 'storage-unreadable'],
  [null, 'connection-lost'],
  [new DOMException('', 'SecurityError'), 'storage-failed'],
])('%s has its own code', (error, code) => expect(storageError(error, 'writing')).toMatchObject({ code, name: 'StorageError' }))
