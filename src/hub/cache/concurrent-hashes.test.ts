/** Many hashers at the same time: each keeps a state of its own, whatever the order in which the hashers are fed, saved and closed. */

import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { ChunkWriter } from '../downloads/chunk-writer.js'
import { LayeredStore } from './layered-store.js'
import { MemoryStore } from './memory-store.js'
import { hashKey, type ExpectedHash, type StoredFile } from '../stored-file.js'

const chunkBytes = 64

/**
 * Files of 1, 4, 7, … 598 bytes, which end at every position within a chunk and within a block of the hash. For every second file,
 * {@link fileOf} uses the hash of git.
 */
const contents = Array.from({ length: 200 }, (_, k) => Uint8Array.from({ length: k * 3 + 1 }, (_, i) => (i * 31 + k * 7) & 255))

function fileOf(bytes: Uint8Array, k: number): StoredFile {
  const algorithm: ExpectedHash['algorithm'] = k % 2 === 0 ? 'sha256' : 'git-sha1'
  const hex =
    algorithm === 'sha256'
      ? createHash('sha256').update(bytes).digest('hex')
      : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
  const hash = { algorithm, hex }
  return { repository: 'r', path: `${k}.json`, size: bytes.length, key: hashKey(hash), hash }
}

/** Stores the chunks of a file in an order that differs from file to file, with a new writer after every `stop` chunks. */
async function write(store: LayeredStore, bytes: Uint8Array, k: number, stop: number): Promise<void> {
  const file = fileOf(bytes, k)
  const open = () => ChunkWriter.open({ store, file, chunkBytes, now: 0 })
  let writer = await open()
  let put = 0
  while (writer.missing.length > 0) {
    const index = writer.missing[(k + put) % writer.missing.length]!
    await writer.put(index, bytes.slice(index * chunkBytes, (index + 1) * chunkBytes))
    if (++put % stop > 0) continue
    writer.close()
    writer = await open()
  }
  await writer.finish(0, () => {})
}

it.each([1, 2, 1000])('200 files at once, each resumed after every %i chunks, get the right hashes', async (stop) => {
  const store = new LayeredStore(new MemoryStore())
  await Promise.all(contents.map((bytes, k) => write(store, bytes, k, stop)))
  expect((await store.records('file ')).every(([, value]) => (value as { state: string }).state === 'complete')).toBe(true)
})

it('reports the actual hash of wrong bytes, never the expected one', async () => {
  const store = new LayeredStore(new MemoryStore())
  const failures = contents.slice(1).map(async (bytes, k) => {
    const wrong = bytes.slice()
    wrong[k % wrong.length]! ^= 1
    const file = fileOf(bytes, k)
    const writer = await ChunkWriter.open({ store, file, chunkBytes: 1024, now: 0 })
    await writer.put(0, wrong.slice())
    const actual = fileOf(wrong, k).hash?.hex
    await expect(writer.finish(0, () => {})).rejects.toMatchObject({
      code: 'hash-mismatch',
      details: { path: file.path, expected: file.hash?.hex, actual },
    })
  })
  await Promise.all(failures)
})
