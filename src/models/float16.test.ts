/**
 * Graphs in float16 (the wasm build computes them in float32 between casts): weights rounded to float16, activations rounded between
 * nodes. What this holds is that every network has a float16 form that loads and is right; the GPU's own float16 is another test.
 */

import { describe, expect, test } from 'vitest'
import { fixtureCalls, fixtureNames } from './fixture-calls.node.js'
import { matchWeights } from './match-weights.js'
import { relativeError, runGraph } from './testing.node.js'

/** Ten bits of mantissa, some tens of roundings one after the other. */
const tolerance = 1e-2

describe.each(fixtureNames())('%s', (name) => {
  test.each([...fixtureCalls(name)])('%s', async (_, read) => {
    const { className, table, write, inputs, expected } = read()
    const { graphs } = matchWeights(className, write({ dtype: 'float16', weights: 'initializer', granularity: 'block' }), table)
    const results = await runGraph(graphs[0]!, table, inputs)
    for (const [key, value] of Object.entries(expected)) {
      const error = relativeError(results[key], value)
      expect(error, key).toBeLessThan(tolerance)
      // Exactly the float32 result would mean that nothing ran in float16.
      expect(error, key).toBeGreaterThan(1e-5)
    }
  })
})
