import { expect, test } from 'vitest'
import { formatBytes, formatCount, formatSeconds, formatShare, formatTimeLeft } from './format.js'

test.each([
  [0, '0 bytes'],
  [999, '999 bytes'],
  [1000, '1.00 kB'],
  [9_996, '10.0 kB'],
  [123_456, '123 kB'],
  [999_600, '1.00 MB'],
  [5_135_149_760, '5.14 GB'],
  [12e15, '12000 TB'],
])('%d bytes is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))

test.each([
  [0, 5_135_149_760, '0.00 of 5.14 GB'],
  [246_000_000, 5_135_149_760, '0.25 of 5.14 GB'],
  [1_500_000, 12_000_000, '1.5 of 12.0 MB'],
  [3, 10, '3 of 10 bytes'],
])('%d of %d is %s', (part, whole, text) => expect(formatShare(part, whole)).toBe(text))

test.each([
  [0.44, '0 s'],
  [59.4, '59 s'],
  [59.6, '1 min'],
  [125, '2 min 5 s'],
  [3600, '1 h'],
  [4321, '1 h 12 min'],
])('%d seconds is %s', (seconds, text) => expect(formatSeconds(seconds)).toBe(text))

test('short times are shown fine where asked', () => {
  expect([formatSeconds(0.44, true), formatSeconds(9.94, true), formatSeconds(9.96, true)]).toEqual(['0.4 s', '9.9 s', '10 s'])
})

test.each([
  [2, 'a few seconds'],
  [11, '15 s'],
  [61, '1 min 30 s'],
  [601, '15 min'],
  [3700, '1 h 5 min'],
])('%d seconds left is %s', (seconds, text) => expect(formatTimeLeft(seconds)).toBe(text))

test.each([
  [12, '12'],
  [859_520_964, '860 M'],
  [2_567_463_684, '2.57 B'],
])('%d is %s', (count, text) => expect(formatCount(count)).toBe(text))
