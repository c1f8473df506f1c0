/** Group norms of large images on the CPU are as exact as those of small ones. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { instanceNormalization } from './ops-network.js'
import { compute, randomTensor } from './testing-operators.js'

let cpu: Device
beforeAll(async () => {
  cpu = await openDevice({ kind: 'wasm' })
})
afterAll(() => cpu.dispose())

/** The root mean square of the error, compared with float64. The results themselves have a root mean square of 1. */
async function errorOf(length: number, middle: number): Promise<number> {
  const drawn = randomTensor([1, 2, length], 1)
  const x = { ...drawn, data: Float32Array.from(drawn.data as Float32Array, (value) => value + middle) }
  const { y = new Float32Array() } = await compute(cpu, {
    inputs: { x },
    body: (graph, inputs) => ({ y: instanceNormalization(graph, inputs['x']!, 1e-5) }),
  })
  let squares = 0
  for (const begin of [0, length]) {
    const row = x.data.subarray(begin, begin + length)
    const mean = row.reduce((sum, value) => sum + value, 0) / length
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / length
    for (const [i, value] of row.entries())
      squares += ((y[begin + i] ?? Number.NaN) - (value - mean) / Math.sqrt(variance + 1e-5)) ** 2
  }
  return Math.sqrt(squares / (2 * length))
}

// With one sum for a whole row, onnxruntime's error would be 7e-4 in the second case. A mean other than 0 adds roundings of 2^-24 of the
// mean.
test.each([
  [20_480, 0],
  [2 ** 21, 5],
  [3 * 5 * 4096 + 8, 0],
])('a row of %i numbers around %i is normalized as exactly as float32 allows', async (length, middle) => {
  expect(await errorOf(length, middle)).toBeLessThan(1e-6 + 4 * middle * 2 ** -24)
})
