/**
 * Runs graphs in float16: weights are rounded to float16, and so are activations between nodes, while the wasm build computes each node in
 * float32. This shows that every network's float16 graph loads and is correct, not how precise a GPU is.
 */

import { describe, expect, test } from 'vitest'
import { fixtureCalls, fixtureNames } from './fixture-calls.node.js'
import { matchWeights } from './match-weights.js'
import { floatsOf, plain, relativeError, runGraph, runStages, type MemoryEntry } from './testing.node.js'

/** About 20 roundings of float16, each at most 2^-11 of a value. */
const tolerance = 1e-2

describe.each(fixtureNames())('%s', (name) => {
  test.each([...fixtureCalls(name)])('%s in float16 is close to what PyTorch computed in float32', async (_, read) => {
    const { definition, table, write, inputs, expected } = read()
    const { graphs } = matchWeights(definition, write({ dtype: 'float16', weights: 'initializer', granularity: 'block' }), table)
    const results = await runGraph(graphs[0]!, table, inputs)
    expect(graphs[0]!.stages.some(({ program }) => program.weights.some(({ type }) => type === 'float16'))).toBe(true)
    for (const [key, value] of Object.entries(expected)) {
      const error = relativeError(results[key], value)
      expect(error, key).toBeLessThan(tolerance)
      // Exactly the float32 result would mean that nothing ran in float16. Graphs with a float32 residual stream can give exactly that
      // result, because onnxruntime's CPU provider drops their Casts.
      if (definition.residual === undefined) expect(error, key).toBeGreaterThan(1e-5)
    }
  })
})

/** The weights, with the tensors whose names match `names` multiplied by `factor`. */
function enlarged(table: ReadonlyMap<string, MemoryEntry>, names: RegExp, factor: number): Map<string, MemoryEntry> {
  const large = new Map<string, MemoryEntry>(table)
  for (const [key, entry] of table) {
    if (!names.test(key)) continue
    const values = plain(entry).data.map((value) => value * factor)
    large.set(key, { ...entry, dtype: 'F32', bytes: new Uint8Array(values.buffer) })
  }
  return large
}

/**
 * Label, fixture and call. Then the weights to multiply, and a factor that makes hidden states leave float16's range. Then the names of a
 * value inside the graph and of an output.
 */
const massive = [
  [
    'T5',
    'tiny-sd3',
    'text_encoder_3.short',
    /DenseReluDense\.wo\.weight$/,
    60_000,
    'encoder.block.1/hidden',
    'last_hidden_state',
  ],
  [
    'Qwen3',
    'networks-qwen3',
    'causal.forward',
    /mlp\.(up|down)_proj\.weight$/,
    500,
    'model.layers.2/hidden',
    'last_hidden_state',
  ],
] as const

test.each(massive)('values of %s that are out of float16’s range are correct in float16', async (_, ...item) => {
  const [fixture, call, pattern, factor, name, output] = item
  const { definition, table, write, inputs } = fixtureCalls(fixture).get(call)!()
  const large = enlarged(table, pattern, factor)
  const run = (dtype: 'float32' | 'float16') => {
    const graph = matchWeights(definition, write({ dtype, weights: 'initializer', granularity: 'block' }), large).graphs[0]!
    return runStages(graph, large, inputs)
  }
  const [wanted, got] = [await run('float32'), await run('float16')]
  const hidden = floatsOf(name, wanted)
  expect(Math.max(...hidden.data.map(Math.abs))).toBeGreaterThan(2 * 65504)
  expect(relativeError(floatsOf(name, got), hidden)).toBeLessThan(tolerance)
  expect(relativeError(floatsOf(output, got), floatsOf(output, wanted))).toBeLessThan(tolerance)
})

test.each([
  ['the blocks’ results', /(to_out|to_out\.0|to_add_out|linear_out)\.weight$/, 60000],
  ['the products of the gated units', /(linear_in|to_qkv_mlp_proj)\.weight$/, 250],
])('%s of FLUX.2 that are out of float16’s range are correct in float16', async (_, names, factor) => {
  const { definition, table, write, inputs } = fixtureCalls('networks-flux2').get('transformer_klein.references')!()
  const large = enlarged(table, names, factor)
  const run = (dtype: 'float32' | 'float16') => {
    const graph = matchWeights(definition, write({ dtype, weights: 'initializer', granularity: 'block' }), large).graphs[0]!
    return runStages(graph, large, inputs)
  }
  const [wanted, got] = [await run('float32'), await run('float16')]
  const last = 'single_transformer_blocks.1/joined'
  const tokens = floatsOf(last, wanted)
  expect(Math.max(...tokens.data.map(Math.abs))).toBeGreaterThan(65504)
  expect(relativeError(floatsOf(last, got), tokens)).toBeLessThan(tolerance)
  expect(relativeError(floatsOf('out_sample', got), floatsOf('out_sample', wanted))).toBeLessThan(tolerance)
})

test.each([
  ['FLUX.1', 'tiny-flux'],
  ['Chroma', 'tiny-chroma'],
])('results of %s’s blocks that are out of float16’s range are correct in float16', async (_, fixture) => {
  const { definition, table, write, inputs } = fixtureCalls(fixture).get('transformer.forward')!()
  const large = enlarged(table, /(to_out\.0|to_add_out|net\.2|single_transformer_blocks\.\d\.proj_out)\.weight$/, 60000)
  const run = (dtype: 'float32' | 'float16') => {
    const graph = matchWeights(definition, write({ dtype, weights: 'initializer', granularity: 'block' }), large).graphs[0]!
    return runStages(graph, large, inputs)
  }
  const [wanted, got] = [await run('float32'), await run('float16')]
  for (const value of ['transformer_blocks.1/context', 'single_transformer_blocks.1/joined']) {
    const tokens = floatsOf(value, wanted)
    expect(Math.max(...tokens.data.map(Math.abs))).toBeGreaterThan(2 * 65504)
    expect(relativeError(floatsOf(value, got), tokens), value).toBeLessThan(tolerance)
  }
  expect(relativeError(floatsOf('out_sample', got), floatsOf('out_sample', wanted))).toBeLessThan(tolerance)
})

test('feed-forwards and attention of Z-Image that are out of float16’s range are correct in float16', async () => {
  const { definition, table, write, inputs } = fixtureCalls('tiny-z-image').get('transformer.forward')!()
  // The results of feed-forwards become 360,000 times as large, those of attention 160,000 times. The RMS norm after each of them undoes
  // the factor.
  const fed = enlarged(table, /feed_forward\.(w2|w3)\.weight$/, 600)
  const large = enlarged(fed, /attention\.(to_v|to_out\.0)\.weight$/, 400)
  const run = async (dtype: 'float32' | 'float16', weights: ReadonlyMap<string, MemoryEntry>) => {
    const graph = matchWeights(definition, write({ dtype, weights: 'initializer', granularity: 'block' }), weights).graphs[0]!
    return (await runGraph(graph, weights, inputs))['out_sample']
  }
  const wanted = await run('float32', table)
  expect(relativeError(await run('float32', large), wanted!)).toBeLessThan(1e-3)
  expect(relativeError(await run('float16', large), wanted!)).toBeLessThan(tolerance)
})
