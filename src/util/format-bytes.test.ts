import { expect, test } from 'vitest'
import { formatBytes } from './format-bytes.js'

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.00 kB'],
  [9_996, '10.0 kB'],
  [12_345, '12.3 kB'],
  [123_456, '123 kB'],
  [999_600, '1.00 MB'],
  [5_135_149_760, '5.14 GB'],
  [84e9, '84.0 GB'],
  [12e15, '12000 TB'],
])('%d bytes is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))
