import { createHash, randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { FileHasher, sha256Hex } from './file-hasher.js'

const bytes = Uint8Array.from(randomBytes(5_000_001))

it('computes the same hash as Node, in one go or resumed from a saved state', async () => {
  const expected = createHash('sha256').update(bytes).digest('hex')
  expect(await sha256Hex(bytes)).toBe(expected)
  const first = await FileHasher.create('sha256', bytes.length)
  await first.update(bytes.subarray(0, 1_234_567))
  const second = await FileHasher.create('sha256', bytes.length, structuredClone(first.save()))
  await second.update(bytes.subarray(1_234_567))
  expect(await second.digest()).toBe(expected)
})

it('computes the same hash of a blob as git', async () => {
  // `printf hello | git hash-object --stdin`
  const hasher = await FileHasher.create('git-sha1', 5)
  await hasher.update(new TextEncoder().encode('hello'))
  expect(await hasher.digest()).toBe('b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0')
})
