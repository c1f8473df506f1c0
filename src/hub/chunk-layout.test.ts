import { describe, expect, it } from 'vitest'
import { chunkCount, chunkRange, parseContentRange, planRead, splitRange } from './chunk-layout.js'

/** A small generator of random numbers, so that a failure can be reproduced. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    yield state / 2 ** 32
  }
}

describe('chunks', () => {
  it('cover a file exactly', () => {
    for (const size of [0, 1, 7, 8, 9, 64, 65]) {
      const ranges = Array.from({ length: chunkCount(size, 8) }, (_, index) => chunkRange(index, size, 8))
      expect(ranges.reduce((sum, { begin, end }) => sum + end - begin, 0)).toBe(size)
      expect(ranges.every(({ begin, end }, k) => begin === k * 8 && end > begin)).toBe(true)
    }
  })

  it('split into pieces without gaps', () => {
    expect(splitRange({ begin: 5, end: 12 }, 3)).toEqual([
      { begin: 5, end: 8 },
      { begin: 8, end: 11 },
      { begin: 11, end: 12 },
    ])
    expect(splitRange({ begin: 5, end: 5 }, 3)).toEqual([])
  })

  it('cover any read exactly, whatever the sizes', () => {
    const random = numbers(1)
    for (let round = 0; round < 2000; round++) {
      const size = 1 + Math.floor(random.next().value * 200)
      const chunkBytes = 1 + Math.floor(random.next().value * 40)
      const file = Array.from({ length: size }, (_, k) => k)
      const begin = Math.floor(random.next().value * (size + 1))
      const end = begin + Math.floor(random.next().value * (size + 1 - begin))
      const read = planRead({ begin, end }, chunkBytes).flatMap((slice) => {
        const chunk = chunkRange(slice.index, size, chunkBytes)
        expect(slice.end).toBeLessThanOrEqual(chunk.end - chunk.begin)
        return file.slice(chunk.begin, chunk.end).slice(slice.begin, slice.end)
      })
      expect(read).toEqual(file.slice(begin, end))
    }
  })

  it('stay exact far beyond 32 bits', () => {
    const size = 2 ** 43 + 5
    expect(chunkRange(chunkCount(size, 2 ** 24) - 1, size, 2 ** 24)).toEqual({ begin: 2 ** 43, end: size })
    expect(planRead({ begin: 2 ** 43 - 1, end: 2 ** 43 + 1 }, 2 ** 24)).toEqual([
      { index: 2 ** 19 - 1, begin: 2 ** 24 - 1, end: 2 ** 24 },
      { index: 2 ** 19, begin: 0, end: 1 },
    ])
  })
})

describe('Content-Range', () => {
  it.each([
    ['bytes 0-9/100', { range: { begin: 0, end: 10 }, total: 100 }],
    [' bytes 5-5/* ', { range: { begin: 5, end: 6 } }],
    ['bytes */100', { total: 100 }],
    ['bytes 0-9/0', { range: { begin: 0, end: 10 } }],
    ['bytes */0', { total: 0 }],
  ])('is read from %j', (header, parsed) => expect(parseContentRange(header)).toEqual(parsed))

  it.each(['', 'bytes', 'bytes 0-9', 'items 0-9/10', 'bytes 0-9/10/11', 'bytes -5/10', 'bytes 0-99999999999999999999/10'])(
    'is not read from %j',
    (header) => expect(parseContentRange(header)).toBeUndefined(),
  )
})
