import { expect, test } from 'vitest'
import { parseMemorySize } from './budget.js'

test.each([
  ['6GB', 6e9],
  ['6GiB', 6 * 2 ** 30],
  ['1.5 gib', 1.5 * 2 ** 30],
  ['512mb', 512e6],
  [' 700 MiB ', 700 * 2 ** 20],
  ['4096', 4096],
  ['1kB', 1000],
  [123_456, 123_456],
])('%s is %d bytes', (size, bytes) => {
  expect(parseMemorySize(size)).toBe(bytes)
})

test.each(['', 'GB', '6 gigs', '-1GB', '6,5GB', '1e9', 0, -5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '99999999TB'])(
  '%s is refused',
  (size) => {
    expect(() => parseMemorySize(size)).toThrow(/maxMemory is .*'6GB'/)
  },
)
