import { expect, test } from 'vitest'
import { formatSeconds, formatShare, formatTimeLeft } from './format.js'

test.each([
  [0, 5_135_149_760, '0.00 of 5.14 GB'],
  [246_000_000, 5_135_149_760, '0.25 of 5.14 GB'],
  [1_500_000, 12_000_000, '1.5 of 12.0 MB'],
  [3, 10, '3 of 10 B'],
])('%d of %d is %s', (part, whole, text) => expect(formatShare(part, whole)).toBe(text))

test.each([
  [0.44, '0 s'],
  [59.4, '59 s'],
  [59.6, '1 min'],
  [125, '2 min 5 s'],
  [3600, '1 h'],
  [4321, '1 h 12 min'],
])('%d seconds is %s', (seconds, text) => expect(formatSeconds(seconds)).toBe(text))

test('short times have one decimal with `fine`', () => {
  expect([formatSeconds(0.44, true), formatSeconds(9.94, true), formatSeconds(9.96, true)]).toEqual(['0.4 s', '9.9 s', '10 s'])
})

test.each([
  [2, 'a few seconds'],
  [11, '15 s'],
  [61, '1 min 30 s'],
  [601, '15 min'],
  [3700, '1 h 5 min'],
])('%d seconds left is %s', (seconds, text) => expect(formatTimeLeft(seconds)).toBe(text))
