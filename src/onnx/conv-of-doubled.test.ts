/** Compares `convOfDoubled` with a plain convolution of the enlarged image. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Device } from '../runtime/device.js'
import { openDevice } from '../runtime/open-device.js'
import { convOfDoubled } from './conv-of-doubled.js'
import { conv } from './ops-network.js'
import { dimension, resizeNearest } from './ops-shape.js'
import { compute, randomTensor } from './testing-operators.js'

let cpu: Device
beforeAll(async () => {
  cpu = await openDevice({ kind: 'wasm' })
})
afterAll(() => cpu.dispose())

test.each([
  [5, 7, 3, 4],
  [16, 8, 1, 6],
  [3, 3, 4, 1],
])('equals doubling and a convolution: %i channels to %i, %i × %i pixels', async (channels, out, height, width) => {
  const { y = new Float32Array(), expected = new Float32Array() } = await compute(cpu, {
    inputs: {
      x: randomTensor([2, channels, height, width], 1),
      weight: randomTensor([out, channels, 3, 3], 2),
      bias: randomTensor([out], 3),
    },
    body: (graph, { x, weight, bias }) => {
      const doubled = resizeNearest(graph, x!, 2 * dimension(x!, 2), 2 * dimension(x!, 3))
      return {
        y: convOfDoubled(graph, x!, weight!, bias!),
        expected: conv(graph, doubled, weight!, bias, { pads: [1, 1, 1, 1] }),
      }
    },
  })
  expect(y).toHaveLength(2 * out * 4 * height * width)
  // Each value is a sum of nine products for each channel, of numbers around 1, with rounding errors of 2^-24.
  const bound = 9 * channels * 2 ** -24 * 4
  for (const [i, value] of expected.entries()) expect(Math.abs((y[i] ?? Number.NaN) - value)).toBeLessThan(bound)
})
