/** Compares the random numbers with those that torch's CPU generator drew (fixtures/torch-random.json). */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { InputError } from '../errors.js'
import { TorchGenerator } from './random.js'
import { elementCount } from './element-count.js'

interface Draw {
  function: 'rand' | 'randn'
  shape: number[]
  dtype: string
  hex: string
}
const fixture = JSON.parse(readFileSync(new URL('../../fixtures/torch-random.json', import.meta.url), 'utf8')) as {
  seed: string
  draws: Draw[]
}[]
const float32Cases = fixture.filter((entry) => entry.draws.every((draw) => draw.dtype === 'float32'))

function decode(draw: Draw): Float32Array {
  const bytes = Uint8Array.from(draw.hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
  return new Float32Array(bytes.buffer)
}

test('draws the same numbers as torch, in single draws and in sequences', () => {
  expect(float32Cases.length).toBeGreaterThan(90)
  let worst = 0
  let numbers = 0
  for (const { seed, draws } of float32Cases) {
    const generator = new TorchGenerator(BigInt(seed))
    for (const draw of draws) {
      const expected = decode(draw)
      const count = elementCount(draw.shape)
      expect(expected.length).toBe(count)
      const actual = generator[draw.function](count)
      if (draw.function === 'rand') expect(actual).toEqual(expected)
      for (let i = 0; i < count; i++) worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!))
      numbers += count
    }
  }
  expect(numbers).toBeGreaterThan(10_000)
  // |x| = √(−2 ln u)·cos θ is at most 5.8. The log, the cos and the product are each rounded to float32 (torch's vector routines may be
  // wrong by one unit in log and cos). So the error is about 3 · 5.8 · 2^-24.
  expect(worst).toBeLessThan(1.05e-6)
})

const draw = (seed: number | bigint) => [...new TorchGenerator(seed).randn(17)]

test('only the low 32 bits of a seed count; a negative seed counts as 2^64 plus the seed', () => {
  expect(draw(2n ** 63n)).toEqual(draw(0))
  expect(draw(-1)).toEqual(draw(2n ** 64n - 1n))
  expect(draw(2 ** 32 + 5)).toEqual(draw(5))
  expect(draw(1)).not.toEqual(draw(2))
})

test.each([1.5, Number.NaN, Infinity, 2 ** 60, -(2n ** 63n) - 1n, 2n ** 64n])('rejects the seed %s', (seed) => {
  expect(() => new TorchGenerator(seed)).toThrow(InputError)
})
