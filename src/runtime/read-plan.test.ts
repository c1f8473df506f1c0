import { expect, test } from 'vitest'
import type { SafetensorsDType, TensorEntry } from '../checkpoint/types.js'
import type { ByteSource } from '../hub/types.js'
import { pieceBytes, planReads } from './read-plan.js'

const MiB = 2 ** 20

function source(): ByteSource {
  return { byteLength: 2 ** 40, read: () => Promise.reject(new Error('not read')) }
}

function entry(from: ByteSource, begin: number, bytes: number, dtype: SafetensorsDType = 'F32'): TensorEntry {
  return { name: `at ${begin}`, dtype, shape: [bytes / 4], source: from, begin, end: begin + bytes }
}

test('neighbours share a read in whatever order they are requested; distant tensors and other files do not', () => {
  const [one, two] = [source(), source()]
  const entries = [entry(one, 400, 400), entry(two, 0, 8), entry(one, 0, 400), entry(one, 5 * MiB, 40), entry(one, 900, 100)]
  const reads = planReads(entries)
  expect(reads.map(({ source: from, begin, end }) => [from === one ? 1 : 2, begin, end])).toEqual([
    [1, 0, 1000],
    [1, 5 * MiB, 5 * MiB + 40],
    [2, 0, 8],
  ])
  expect(reads[0]?.parts.map(({ entry: { begin }, offset, first, count }) => [begin, offset, first, count])).toEqual([
    [0, 0, 0, 100],
    [400, 400, 0, 100],
    [900, 900, 0, 25],
  ])
})

test('no read is longer than a piece, and every element is read once', () => {
  const from = source()
  const entries = [
    entry(from, 3, 20 * MiB + 6, 'F16'),
    entry(from, 20 * MiB + 9, 7, 'F8_E4M3'),
    entry(from, 21 * MiB, 30 * MiB, 'BF16'),
  ]
  const reads = planReads(entries)
  const covered = new Map<TensorEntry, number>()
  for (const read of reads) {
    expect(read.end - read.begin).toBeLessThanOrEqual(pieceBytes)
    for (const part of read.parts) {
      expect(part.first).toBe(covered.get(part.entry) ?? 0)
      covered.set(part.entry, part.first + part.count)
      const size = part.entry.dtype === 'F8_E4M3' ? 1 : 2
      expect(read.begin + part.offset).toBe(part.entry.begin + part.first * size)
      // Writes to the GPU must begin at multiples of 4 bytes, even if the values are converted to a type half as wide.
      expect((part.first * size) % 8).toBe(0)
    }
  }
  expect(entries.map((one) => covered.get(one))).toEqual([10 * MiB + 3, 7, 15 * MiB])
})

test('no tensors give no reads', () => {
  expect(planReads([])).toEqual([])
  expect(planReads([entry(source(), 8, 0)])).toEqual([])
})
