/** Compares every network of the fixtures with the tensors that diffusers computed, for each way to write its graph. */

import { describe, expect, test } from 'vitest'
import type { WriteOptions } from '../onnx/types.js'
import { fixtureCalls, fixtureNames } from './fixture-calls.node.js'
import { matchWeights } from './match-weights.js'
import { relativeError, runGraph } from './testing.node.js'

/** Both sides compute in float32, but add in different orders. */
const tolerance = 1e-5

const forms: readonly WriteOptions[] = (['component', 'block'] as const).flatMap((granularity) =>
  (['initializer', 'input'] as const).map((weights) => ({ dtype: 'float32', weights, granularity }) as const),
)

test('there are fixtures', () => {
  expect(fixtureNames()).toEqual(expect.arrayContaining(['tiny-sd15', 'tiny-sd21', 'tiny-sd3', 'tiny-sd35', 'tiny-sdxl']))
})

describe.each(fixtureNames())('%s', (name) => {
  test.each([...fixtureCalls(name)])('%s computes what PyTorch computed', async (_, read) => {
    const { definition, table, write, inputs, expected } = read()
    for (const options of forms) {
      const { graphs, unexpected } = matchWeights(definition, write(options), table)
      expect(unexpected).toEqual([])
      const results = await runGraph(graphs[0]!, table, inputs)
      for (const [key, value] of Object.entries(expected)) {
        expect(relativeError(results[key], value), `${key} with ${options.weights}, ${options.granularity}`).toBeLessThan(
          tolerance,
        )
      }
    }
  })
})
