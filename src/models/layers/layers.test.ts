/** Compares single layers with those of diffusers, transformers and torch: `fixtures/layers`. */

import { expect, test } from 'vitest'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { mul, silu } from '../../onnx/ops-math.js'
import type { ValueInfo, WriteOptions } from '../../onnx/types.js'
import { fixtures, plain, readJson, readSafetensors, relativeError, runGraph, type PlainTensor } from '../testing.node.js'
import { causalPaddingBias } from './attention-bias.js'
import { gatedFeedForward, gatedHalves, type GatedNames, type GateActivation } from './gated-feed-forward.js'
import { groupedQueryAttention } from './grouped-query-attention.js'
import { toCompute, toFloat32, tokenLinear } from './layers.js'
import { adaLayerNormContinuous, addGated, addTanhGated, modulate, modulations, plainNorm } from './modulation.js'
import { headNorm, rmsNorm, scaledDown, wideRmsNorm } from './rms-norm.js'
import { rotary, type RotaryPairs } from './rotary-embedding.js'
import { countedPositions, imagePositions, rotaryTables, type RotarySettings } from './rotary-tables.js'
import { wideLinear } from './wide-linear.js'

const all = readSafetensors(`${fixtures}layers/layers.safetensors`)
const settings = readJson(`${fixtures}layers/layers.json`)

/** A tensor of a case. */
function tensor(name: string, key: string): PlainTensor {
  const entry = all.get(`${name}/${key}`)
  if (entry === undefined) throw new Error(`${name} has no ${key}`)
  return plain(entry)
}

type Body = (graph: GraphBuilder, inputs: Readonly<Record<string, ValueInfo>>) => ValueInfo

interface CaseOptions {
  readonly dtype?: WriteOptions['dtype']
  /** Inputs that the fixture does not contain. */
  readonly given?: Readonly<Record<string, PlainTensor>>
  /** A prefix for the names of the weights, which have none in the fixture. */
  readonly below?: string
}

/** The largest error of a layer's result for a case's inputs, relative to the largest value of the reference. */
async function errorOf(
  name: string,
  inputs: readonly string[],
  body: Body,
  { dtype = 'float32', given = {}, below = '' }: CaseOptions = {},
): Promise<number> {
  const values = { ...Object.fromEntries(inputs.map((key) => [key, tensor(name, key)])), ...given }
  const component = new ComponentBuilder(name, { dtype, weights: 'initializer', granularity: 'component' })
  const declared = Object.fromEntries(
    Object.entries(values).map(([key, { dims }]) => [key, component.input(key, 'float32', dims)]),
  )
  const { out } = component.stage(
    name,
    declared,
    (graph, from) => ({
      out: toFloat32(
        graph,
        body(graph, Object.fromEntries(Object.entries(from).map(([key, value]) => [key, toCompute(graph, value)]))),
      ),
    }),
    '',
  )
  component.output('out', out)
  const prefix = `${name}/weights/`
  const own = [...all].filter(([key]) => key.startsWith(prefix))
  const weights = new Map(own.map(([key, entry]) => [below + key.slice(prefix.length), entry]))
  return relativeError((await runGraph(component.finish(), weights, values))['out'], tensor(name, 'out'))
}

/** About 30 roundings of float32, each at most 2^-24 of a value. */
const tolerance = 2e-6

/** [batch, tokens, heads, size] → [batch, tokens, heads · size]. */
function flat({ dims: [batch = 0, tokens = 0, heads = 0, size = 0], data }: PlainTensor): PlainTensor {
  return { dims: [batch, tokens, heads * size], data }
}

test.each(Object.keys(settings).filter((name) => name.startsWith('rotary-')))(
  '%s: the angles and the rotated vectors are those of PyTorch',
  async (name) => {
    const { pairs, ...rest } = settings[name] as RotarySettings & { pairs: RotaryPairs }
    const { cos, sin } = rotaryTables(tensor(name, 'positions').data, rest)
    // If torch rounds a frequency differently, an angle of up to 456 changes by up to 456 · 2^-24.
    const bound = rest.rounded === 'all' ? 3e-5 : 2e-7
    expect(relativeError(cos, tensor(name, 'cos'))).toBeLessThan(bound)
    expect(relativeError(sin, tensor(name, 'sin'))).toBeLessThan(bound)
    const given = { x: flat(tensor(name, 'x')), cos, sin }
    const body: Body = (graph, { x, cos, sin }) => rotary(graph, x!, { cos: cos!, sin: sin! }, pairs)
    expect(await errorOf(name, [], body, { given })).toBeLessThan(bound + tolerance)
    // float16 has 11 significant bits, to which angles, values and products are rounded.
    expect(await errorOf(name, [], body, { given, dtype: 'float16' })).toBeLessThan(4 * 2 ** -11)
  },
)

test('positions of images and sequences count from the given start', () => {
  expect([...imagePositions({ rows: 2, columns: 2 }, { first: 10, top: 1, left: 5 })]).toEqual([
    10, 1, 5, 10, 1, 6, 10, 2, 5, 10, 2, 6,
  ])
  expect([...imagePositions({ rows: 1, columns: 2 })]).toEqual([0, 0, 0, 0, 0, 1])
  expect([...countedPositions(3, 1)]).toEqual([1, 2, 3])
})

const normOfHeads: Body = (graph, { x }) => headNorm(graph, x!, 'norm_q', 16, 1e-5)

test('an RMS norm of each head computes what torch’s RMSNorm computes', async () => {
  const given = { x: flat(tensor('head-norm', 'x')) }
  expect(await errorOf('head-norm', [], normOfHeads, { given, below: 'norm_q.' })).toBeLessThan(tolerance)
})

test('an RMS norm of products that are out of float16’s range is right', async () => {
  const { exponent, epsilon } = settings['large-norm'] as { exponent: number; epsilon: number }
  const body =
    (by: number): Body =>
    (graph, { x }) =>
      wideRmsNorm(graph, tokenLinear(graph, scaledDown(graph, x!, by), 'linear', 16, { bias: false }), 'norm', epsilon, by)
  expect(await errorOf('large-norm', ['x'], body(exponent))).toBeLessThan(tolerance)
  expect(await errorOf('large-norm', ['x'], body(0))).toBeLessThan(tolerance)
  expect(await errorOf('large-norm', ['x'], body(exponent), { dtype: 'float16' })).toBeLessThan(8 * 2 ** -11)
  expect(await errorOf('large-norm', ['x'], body(0), { dtype: 'float16' })).toBeGreaterThan(0.5)
})

test('a Linear with results that are out of float16’s range is right', async () => {
  const { epsilon } = settings['large-norm'] as { epsilon: number }
  const body: Body = (graph, { x }) =>
    rmsNorm(graph, wideLinear(graph, x!, 'linear', 16, { bias: false, exponent: 6 }), 'norm', epsilon)
  expect(await errorOf('large-norm', ['x'], body)).toBeLessThan(tolerance)
  expect(await errorOf('large-norm', ['x'], body, { dtype: 'float16' })).toBeLessThan(8 * 2 ** -11)
})

test('grouped-query attention is right, causal and with padding', async () => {
  const name = 'grouped-query-attention'
  const heads = settings[name] as { heads: number; keyHeads: number }
  const given = Object.fromEntries(['query', 'key', 'value'].map((key) => [key, flat(tensor(name, key))]))
  const body: Body = (graph, { query, key, value, mask }) =>
    groupedQueryAttention(graph, { query: query!, key: key!, value: value!, bias: causalPaddingBias(graph, mask!) }, heads)
  expect(await errorOf(name, ['mask'], body, { given })).toBeLessThan(tolerance)
  expect(await errorOf(name, ['mask'], body, { given, dtype: 'float16' })).toBeLessThan(4 * 2 ** -11)
})

interface GatedSettings {
  readonly activation: GateActivation
  readonly first: 'gate-first' | 'value-first'
  readonly names: GatedNames
  readonly inner: number
}

test.each(['swiglu', 'geglu'])('%s of two halves computes what PyTorch computes', async (name) => {
  const { activation, first } = settings[name] as GatedSettings
  const body: Body = (graph, { x }) =>
    gatedHalves(graph, name === 'geglu' ? tokenLinear(graph, x!, 'proj', 24) : x!, activation, first)
  expect(await errorOf(name, ['x'], body)).toBeLessThan(tolerance)
})

test.each(['qwen3-mlp', 'z-image-feed-forward'])('the gated feed-forward of %s computes what PyTorch computes', async (name) => {
  const { names, inner, activation } = settings[name] as GatedSettings
  const body: Body = (graph, { x }) => gatedFeedForward(graph, x!, names, inner, activation)
  expect(await errorOf(name, ['x'], body)).toBeLessThan(tolerance)
})

const adaptiveNorm: Body = (graph, { x, temb }) => adaLayerNormContinuous(graph, x!, silu(graph, temb!), 'norm_out')

test('the last norm computes what diffusers’ AdaLayerNormContinuous computes', async () => {
  expect(await errorOf('norm-out', ['x', 'temb'], adaptiveNorm, { below: 'norm_out.' })).toBeLessThan(tolerance)
})

const sharedModulations: Body = (graph, { x, temb }) => {
  const parts = ['shift', 'scale', 'gate', 'shift', 'scale', 'gate'] as const
  const cut = modulations(graph, silu(graph, temb!), 'linear', 24, parts, { bias: false })
  const [shift, factor, gate, shiftMlp, factorMlp, gateMlp] = cut
  const middle = addGated(graph, x!, gate, modulate(graph, plainNorm(graph, x!), shift, factor))
  return addGated(graph, middle, gateMlp, modulate(graph, plainNorm(graph, middle), shiftMlp, factorMlp))
}

test('modulations that all blocks share are those of diffusers’ Flux2Modulation', async () => {
  expect(await errorOf('shared-modulation', ['x', 'temb'], sharedModulations)).toBeLessThan(tolerance)
})

const tanhGates: Body = (graph, { x, temb }) => {
  const [factor, gate] = modulations(graph, temb!, 'adaLN_modulation.0', 24, ['scale', 'gate'] as const)
  return addTanhGated(graph, x!, gate, mul(graph, x!, factor))
}

test('scales and gates through tanh are those of Z-Image’s blocks', async () => {
  expect(await errorOf('tanh-modulation', ['x', 'temb'], tanhGates, { below: 'adaLN_modulation.0.' })).toBeLessThan(tolerance)
})
