/** Options that the fixtures do not cover: the hidden state of CLIP, and attention in chunks. */

import * as ort from 'onnxruntime-web/wasm'
import { expect, test } from 'vitest'
import { GraphBuilder } from '../onnx/graph-builder.js'
import { chunkedAttention } from './layers/chunked-attention.js'
import { CLIPTextModel } from './text-encoders/clip-text-model.js'
import { fixtureCalls } from './fixture-calls.node.js'
import { matchWeights } from './match-weights.js'
import { graphFor } from './testing.js'
import { plain, relativeError, runGraph } from './testing.node.js'

test('hidden_state can be any of the encoder’s, with or without the final norm', async () => {
  const { definition, config, table, inputs, expected } = fixtureCalls('tiny-sdxl').get('text_encoder.forward')!()
  expect(definition).toBe(CLIPTextModel)
  const shape = { batch: 2, sequenceLength: 77 }
  const run = async (index: number, finalLayerNorm: boolean, granularity: 'block' | 'component') => {
    const options = { dtype: 'float32', weights: 'input', granularity } as const
    const variant = { hiddenStates: [{ index, finalLayerNorm }] }
    const { graphs } = matchWeights(CLIPTextModel, [graphFor(CLIPTextModel, config, shape, options, variant)], table)
    return runGraph(graphs[0]!, table, inputs)
  }
  for (const granularity of ['block', 'component'] as const) {
    const last = await run(-1, true, granularity)
    expect(relativeError(last.hidden_state, last.last_hidden_state!)).toBe(0)
    expect(relativeError((await run(3, false, granularity)).hidden_state, expected.hidden_state!)).toBeLessThan(1e-5)
    expect(relativeError((await run(-2, true, granularity)).hidden_state, expected.hidden_state!)).toBeGreaterThan(1e-2)
    // The first hidden state is the sum of the token embeddings and the position embeddings.
    const first = (await run(0, false, granularity)).hidden_state!
    const positions = plain(table.get('text_model.embeddings.position_embedding.weight')!).data
    const sums = inputs.inputs_embeds!.data.map((value, index) => value + positions[index % positions.length]!)
    expect(relativeError(first, { dims: first.dims, data: sums })).toBe(0)
  }
})

/** softmax(q · kᵀ / √channels) · v in float64. */
function attention(q: Float32Array, k: Float32Array, v: Float32Array, tokens: number, channels: number): number[] {
  const result: number[] = []
  for (let row = 0; row < tokens; row++) {
    const scores = Array.from({ length: tokens }, (_, column) => {
      let dot = 0
      for (let c = 0; c < channels; c++) dot += q[row * channels + c]! * k[column * channels + c]!
      return Math.exp(dot / Math.sqrt(channels))
    })
    const total = scores.reduce((a, b) => a + b)
    for (let c = 0; c < channels; c++) {
      result.push(scores.reduce((sum, score, column) => sum + (score / total) * v[column * channels + c]!, 0))
    }
  }
  return result
}

// All queries at once (below the limit, and exactly at it), chunks of five queries with a shorter last one, one query at a time.
test.each([1e6, 22 * 11, 22 * 5, 1])('attention with at most %i scores at once computes the same values', async (scores) => {
  const [batch, tokens, channels] = [2, 11, 6]
  const dims = [batch, tokens, channels]
  const values = [1, 2, 3].map((seed) =>
    Float32Array.from({ length: batch * tokens * channels }, (_, i) => Math.sin(seed * 12.9 * (i + 1))),
  )
  const graph = new GraphBuilder({ dtype: 'float32', weights: 'input', granularity: 'component' })
  const [q, k, v] = ['q', 'k', 'v'].map((name) => graph.input(name, 'float32', dims))
  graph.output('y', chunkedAttention(graph, q!, k!, v!, scores))
  const session = await ort.InferenceSession.create(graph.finish('attention').model, { logSeverityLevel: 3 })
  const feeds = Object.fromEntries(['q', 'k', 'v'].map((name, index) => [name, new ort.Tensor('float32', values[index]!, dims)]))
  const { y } = await session.run(feeds)
  await session.release()
  const length = tokens * channels
  const expected = [0, 1].flatMap((row) => {
    const [a, b, c] = values.map((all) => all.subarray(row * length, (row + 1) * length))
    return attention(a!, b!, c!, tokens, channels)
  })
  const wanted = { dims, data: Float32Array.from(expected) }
  expect(relativeError({ dims, data: y!.data as Float32Array<ArrayBuffer> }, wanted)).toBeLessThan(1e-6)
})
