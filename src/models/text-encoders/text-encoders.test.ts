/**
 * The variants of text encoders' graphs: attention masks, and several hidden states. A mask is right if a padded sequence gives what the
 * sequence alone gives, and if the padding does not matter.
 */

import { describe, expect, test } from 'vitest'
import { fixtureCalls } from '../fixture-calls.node.js'
import { matchWeights } from '../match-weights.js'
import { graphFor } from '../testing.js'
import { relativeError, runGraph, type PlainTensor } from '../testing.node.js'
import type { GraphVariant } from '../types.js'

const encoders = [
  ['tiny-sdxl', 'text_encoder.forward'],
  ['tiny-sdxl', 'text_encoder_2.forward'],
  ['tiny-sd3', 'text_encoder_3.short'],
  ['networks-qwen3', 'causal.long'],
] as const

const layouts = [
  { weights: 'input', granularity: 'block' },
  { weights: 'initializer', granularity: 'component' },
] as const

/** The first `tokens` rows of the first sequence of [batch, sequenceLength, width]. */
function firstTokens({ dims, data }: PlainTensor, tokens: number): PlainTensor {
  const width = dims[2] ?? 1
  return { dims: [1, tokens, width], data: data.slice(0, tokens * width) }
}

/** A tensor [rows, columns] with these rows. */
function matrix(rows: readonly (readonly number[])[]): PlainTensor {
  return { dims: [rows.length, rows[0]?.length ?? 0], data: Float32Array.from(rows.flat()) }
}

/** Tokens of the longer and the shorter sequence. */
const [length, tokens] = [12, 7]

/** A mask for the shorter sequence: `value` for its second token, and ones for the others. */
const mask = (value: number) => matrix([Array.from({ length: tokens }, (_, index) => (index === 1 ? value : 1))])

describe.each(encoders)('%s %s', (fixture, name) => {
  const { definition, config, table, inputs } = fixtureCalls(fixture).get(name)!()
  const run = async (
    given: Readonly<Record<string, PlainTensor>>,
    variant: GraphVariant,
    layout: (typeof layouts)[number] = layouts[0],
  ) => {
    const [batch = 0, sequenceLength = 0] = given['inputs_embeds']!.dims
    const options = { dtype: 'float32', ...layout } as const
    const graph = graphFor(definition, config, { batch, sequenceLength }, options, variant)
    const host =
      definition.role === 'text-encoder' && !hasPooling ? definition.fromConfig(config).hostInputs([], sequenceLength) : {}
    return runGraph(matchWeights(definition, [graph], table).graphs[0]!, table, { ...host, ...given })
  }
  const hasPooling = 'pooling' in inputs
  const embeds = inputs['inputs_embeds']!
  const [, , width = 0] = embeds.dims

  /** Seven tokens alone, pooled at the fifth. */
  const alone = {
    inputs_embeds: firstTokens(embeds, tokens),
    ...(hasPooling ? { pooling: matrix([[0, 0, 0, 0, 1, 0, 0]]) } : {}),
  }
  /** The same tokens with five rows of padding, in a batch with twelve tokens without padding. */
  const padded = (frequency: number) => {
    const data = Float32Array.from({ length: 2 * length * width }, (_, index) => Math.sin(index * frequency))
    data.set(alone.inputs_embeds.data)
    data.set(firstTokens(embeds, length).data, length * width)
    const row = Array.from({ length }, (_, index) => Number(index === 4))
    return {
      inputs_embeds: { dims: [2, length, width], data },
      attention_mask: matrix([Array.from({ length }, (_, index) => Number(index < tokens)), Array<number>(length).fill(1)]),
      ...(hasPooling ? { pooling: matrix([row, row]) } : {}),
    }
  }

  test.each(layouts)('padding that is masked changes nothing: %o', async (layout) => {
    const expected = await run(alone, {}, layout)
    const whole = await run(
      {
        ...alone,
        inputs_embeds: firstTokens(embeds, length),
        ...(hasPooling ? { pooling: matrix([Array.from({ length }, (_, index) => Number(index === 4))]) } : {}),
      },
      {},
      layout,
    )
    const [zeros, other] = [
      await run(padded(0.7), { attentionMask: true }, layout),
      await run(padded(1.3), { attentionMask: true }, layout),
    ]
    for (const given of [zeros, other]) {
      const hidden = given['last_hidden_state']!
      expect(relativeError(firstTokens(hidden, tokens), expected['last_hidden_state']!)).toBeLessThan(1e-5)
      const second = { dims: [1, length, width], data: hidden.data.slice(length * width) }
      expect(relativeError(second, whole['last_hidden_state']!)).toBeLessThan(1e-5)
    }
    // The rows where the mask is 0 differ, because they are computed from the padding itself.
    expect(relativeError(zeros['last_hidden_state'], other['last_hidden_state']!)).toBeGreaterThan(1e-2)
  })

  test('a mask of ones changes nothing, and a mask with a zero does', async () => {
    const plain = (await run(alone, {}))['last_hidden_state']!
    const ones = await run({ ...alone, attention_mask: mask(1) }, { attentionMask: true })
    const zero = await run({ ...alone, attention_mask: mask(0) }, { attentionMask: true })
    expect(relativeError(ones['last_hidden_state'], plain)).toBeLessThan(1e-6)
    expect(relativeError(zero['last_hidden_state'], plain)).toBeGreaterThan(1e-3)
    // No other token attends to the masked one, so changing its embedding leaves the rows of the other tokens as they are.
    const changed = Float32Array.from(alone.inputs_embeds.data)
    changed.set(
      Array.from({ length: width }, (_, index) => Math.sin(index)),
      width,
    )
    const inputs = { ...alone, inputs_embeds: { ...alone.inputs_embeds, data: changed }, attention_mask: mask(0) }
    const other = (await run(inputs, { attentionMask: true }))['last_hidden_state']!
    const others = ({ data }: PlainTensor) => matrix([[...data.slice(0, width), ...data.slice(2 * width)]])
    expect(relativeError(others(other), others(zero['last_hidden_state']!))).toBe(0)
    expect(relativeError(other, zero['last_hidden_state']!)).toBeGreaterThan(1e-2)
  })

  test('several hidden states are returned in the requested order, each equal to that of a run for it alone', async () => {
    const { layers } = definition.fromConfig(config) as { readonly layers: number }
    const states = [
      { index: layers, finalLayerNorm: true },
      { index: 0, finalLayerNorm: false },
      { index: -2, finalLayerNorm: false },
      { index: 1, finalLayerNorm: false },
    ]
    for (const layout of layouts) {
      const together = await run(alone, { hiddenStates: states }, layout)
      for (const [place, state] of states.entries()) {
        const single = await run(alone, { hiddenStates: [state] }, layout)
        const output = place === 0 ? 'hidden_state' : `hidden_state_${place}`
        expect(relativeError(together[output], single['hidden_state']!), output).toBe(0)
      }
      expect(relativeError(together['hidden_state'], together['last_hidden_state']!)).toBe(0)
      expect(together['hidden_state_4']).toBeUndefined()
      expect(relativeError(together['hidden_state_1'], together['hidden_state_2']!)).toBeGreaterThan(1e-2)
    }
  })

  test('hidden states that do not exist are refused', async () => {
    for (const index of [99, -99, 0.5])
      await expect(run(alone, { hiddenStates: [{ index, finalLayerNorm: false }] })).rejects.toMatchObject({
        code: 'invalid-hidden-state',
      })
  })
})
