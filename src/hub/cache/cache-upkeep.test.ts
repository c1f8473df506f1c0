/** Evicting and verifying, on a store whose reads fail or whose content changes at the wrong moment. */

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { StorageError } from '../../errors.js'
import { CacheManager } from './cache-manager.js'
import { ChunkWriter } from '../downloads/chunk-writer.js'
import { createLocks } from './file-locks.js'
import { LayeredStore } from './layered-store.js'
import { MemoryStore } from './memory-store.js'

const bytes = (...values: number[]) => new Uint8Array(values)

/** A cache with these files, which have one chunk each. */
async function filled(store: MemoryStore, ...keys: string[]) {
  const layered = new LayeredStore(store)
  for (const [k, key] of keys.entries()) {
    const file = { repository: 'r', path: key, size: 3, key }
    const writer = await ChunkWriter.open({ store: layered, file, chunkBytes: 4, now: k })
    await writer.put(0, bytes(1, 2, 3))
    await writer.finish(k, () => {})
  }
  return new CacheManager(layered, await createLocks())
}

describe('evicting', () => {
  it('deletes the least recently used file, and returns its bytes', async () => {
    const store = new MemoryStore()
    const cache = await filled(store, 'commit:a', 'commit:b')
    await store.putChunk('commit:nobody', 0, bytes(1))
    expect(await cache.evictOldest()).toBe(0)
    expect(await store.chunkFiles()).toEqual(['commit:a', 'commit:b'])
    expect(await cache.evictOldest()).toBe(3)
    expect(await store.chunkFiles()).toEqual(['commit:b'])
    expect(await cache.evictOldest()).toBe(3)
    expect(await cache.evictOldest()).toBeUndefined()
  })

  it('deletes no chunks as orphans while records cannot be read', async () => {
    const store = new MemoryStore()
    const cache = await filled(store, 'commit:a', 'commit:b')
    Object.assign(store, { records: () => Promise.reject(new StorageError('storage-failed', 'no')) })
    for (const work of [
      () => cache.evictOldest(),
      () => cache.clear(),
      () => cache.deleteModel({ id: '', endpoint: '', revision: '' }),
    ])
      await expect(work()).rejects.toMatchObject({ code: 'storage-failed' })
    expect(await store.chunkFiles()).toEqual(['commit:a', 'commit:b'])
  })
})

describe('verifying', () => {
  it('deletes damaged chunks', async () => {
    const store = new MemoryStore()
    const cache = await filled(store, 'commit:a', 'commit:b')
    await store.putChunk('commit:b', 0, bytes(1, 2, 4))
    expect(await cache.verify()).toEqual({ chunks: 2, bad: [{ path: 'commit:b', index: 0 }] })
    expect(await store.chunkFiles()).toEqual(['commit:a'])
  })

  it.each(['chunks', 'chunkIndexes', 'chunk'] as const)(
    'does not compare the chunks of a replaced file with the old digests (%s)',
    async (method) => {
      const store = new MemoryStore()
      const cache = await filled(store, 'commit:a')
      const record = (await store.record('file commit:a')) as object
      const digests = [
        createHash('sha256')
          .update(bytes(4, 5, 6))
          .digest('hex'),
      ]
      const replace = async () => {
        await store.putChunk('commit:a', 0, bytes(4, 5, 6))
        await store.putRecord('file commit:a', { ...record, digests })
      }
      // Another tab replaces the file just before its list of chunks is read, or just after its chunk is read.
      const read = store[method].bind(store) as (file: string, index: number) => Promise<unknown>
      Object.assign(store, {
        [method]: async (file: string, index: number) => {
          Object.assign(store, { [method]: read })
          if (method !== 'chunk') await replace()
          const found = await read(file, index)
          if (method === 'chunk') await replace()
          return found
        },
      })
      expect((await cache.verify()).bad).toEqual([])
      expect(await store.chunkFiles()).toEqual(['commit:a'])
    },
  )
})
