/** `toEqual` with equal-numbers.ts gives the answers that Vitest gives without it, but for ArrayBuffers. */
import { expect, test } from 'vitest'
import { equalNumbers } from './equal-numbers.js'

test.each([
  ['the same numbers', Float32Array.of(1, 2), Float32Array.of(1, 2), true],
  ['another number', Float32Array.of(1, 2), Float32Array.of(1, 3), false],
  ['more numbers', Float32Array.of(1, 2), Float32Array.of(1, 2, 3), false],
  ['fewer numbers', Float32Array.of(1, 2), Float32Array.of(1), false],
  ['no numbers', new Uint8Array(), new Uint8Array(), true],
  ['NaN', Float32Array.of(Number.NaN), Float32Array.of(Number.NaN), true],
  ['0 and −0', Float32Array.of(0), Float32Array.of(-0), false],
  ['another type', Float32Array.of(1), Float64Array.of(1), false],
  ['numbers of 64 bits', BigInt64Array.of(1n), BigInt64Array.of(1n), true],
  ['other numbers of 64 bits', BigInt64Array.of(1n), BigInt64Array.of(2n), false],
  ['Buffers', Buffer.of(1, 2), Buffer.of(1, 2), true],
  ['a Buffer and a Uint8Array', Buffer.of(1), Uint8Array.of(1), false],
  ['part of a buffer', Uint8Array.of(0, 1, 2).subarray(1), Uint8Array.of(1, 2), true],
])('%s', (_, a, b, same) => {
  expect(equalNumbers(a, b)).toBe(same)
  if (same) expect({ values: [a] }).toEqual({ values: [b] })
  else expect({ values: [a] }).not.toEqual({ values: [b] })
})

test('the bytes of ArrayBuffers', () => {
  const [a, same, other] = [Uint8Array.of(1, 2).buffer, Uint8Array.of(1, 2).buffer, Uint8Array.of(1, 3).buffer]
  expect(a).toEqual(same)
  expect(a).not.toEqual(other)
  expect(a).not.toEqual(Uint8Array.of(1, 2))
})

test('other values are left to Vitest', () => {
  for (const [a, b] of [
    [[1], [1]],
    [{ 0: 1 }, Uint8Array.of(1)],
    [new DataView(new ArrayBuffer(1)), new DataView(new ArrayBuffer(1))],
  ])
    expect(equalNumbers(a, b)).toBeUndefined()
})
