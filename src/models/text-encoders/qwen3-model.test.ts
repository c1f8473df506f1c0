/** Only the layers that lead to the hidden states of a pipeline class are written and loaded, and configs of other models are refused. */

import { expect, test } from 'vitest'
import { fixtureCalls } from '../fixture-calls.node.js'
import { matchWeights } from '../match-weights.js'
import { relativeError, runGraph } from '../testing.node.js'
import { Qwen3ForCausalLM, qwen3TextEncoders } from './qwen3-model.js'

const options = { dtype: 'float32', weights: 'input', granularity: 'block' } as const
const { config, table, inputs, expected } = fixtureCalls('networks-qwen3').get('causal.taps')!()
const refused = (changes: object) => () => Qwen3ForCausalLM.fromConfig({ ...config, ...changes })
const layerOf = (name: string) => Number(/layers\.(\d+)\./.exec(name)?.[1] ?? -1)

test.each([
  [[1, 3], 3],
  [[1], 1],
  [[-2], 3],
  [[2, -1], 4],
])(
  'for the hidden states %j the graph has %i layers, and all other tensors are unused for a known reason',
  async (taps, layers) => {
    const model = qwen3TextEncoders(taps)[0]!.fromConfig(config)
    const shapes = { inputs_embeds: inputs['inputs_embeds']!.dims }
    const graph = model.write(shapes, options)
    const matched = matchWeights(model, [graph], table)
    expect(matched.unexpected).toEqual([])
    const used = matched.graphs[0]!.stages.flatMap((stage) => Object.values(stage.weights))
    expect(Math.max(...used.map(layerOf))).toBe(layers - 1)
    expect(used.length + matched.unused.length).toBe(table.size)
    expect(used.some((name) => name.includes('norm.weight') && !name.includes('layers'))).toBe(layers === 4)
    expect(graph.outputs.filter(({ name }) => name.startsWith('hidden_state'))).toHaveLength(taps.length)
    expect(model.hiddenStates).toBe(taps.length)
  },
)

test('the hidden states of a pipeline class are those that a variant requests', async () => {
  const model = qwen3TextEncoders([1, 3])[0]!.fromConfig(config)
  const graph = model.write({ inputs_embeds: inputs['inputs_embeds']!.dims }, options, {
    attentionMask: true,
    hiddenStates: undefined,
  })
  const results = await runGraph(matchWeights(model, [graph], table).graphs[0]!, table, inputs)
  expect(relativeError(results['hidden_state'], expected['hidden_state']!)).toBeLessThan(1e-5)
  expect(relativeError(results['hidden_state_1'], expected['hidden_state_1']!)).toBeLessThan(1e-5)
})

test('a model with fewer layers than a pipeline class takes is refused', () => {
  const [definition] = qwen3TextEncoders([9, 18, 27])
  expect(() => definition?.fromConfig(config)).toThrow(
    expect.objectContaining({
      code: 'invalid-config',
      details: expect.objectContaining({ key: 'num_hidden_layers', allowed: 'at least 27' }),
    }),
  )
})

test('a config of another transformers model is refused by the keys that differ', () => {
  expect(refused({ rope_parameters: { rope_type: 'yarn', factor: 4 } })).toThrow(/rope_parameters/)
  expect(refused({ layer_types: null, use_sliding_window: true, sliding_window: 512, max_window_layers: 1 })).toThrow(
    /sliding_window/,
  )
  expect(refused({ num_key_value_heads: 3 })).toThrow(/divisor of num_attention_heads, 4/)
})
