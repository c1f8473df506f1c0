/**
 * The blocks of FLUX.1's transformer: diffusers' FluxTransformerBlock, in which image and prompt tokens have weights of their own, and
 * FluxSingleTransformerBlock, in which attention and feed-forward are side by side. Weight names are relative to the block. Tokens are
 * [batch, tokens, channels].
 *
 * Between blocks the tokens are float32, also in a float16 graph: the network was trained in bfloat16, and its prompt tokens leave float16's range.
 * diffusers clips them to ±65504 in float16; in float32 nothing is clipped, there and here.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { gelu } from '../../onnx/ops-math.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { concat, dimension, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute, toFloat32, tokenLinear } from './layers.js'
import { addGated, modulate, modulations, plainNorm } from './modulation.js'
import { headNorm } from './rms-norm.js'
import { rotary, type RotaryInputs } from './rotary-embedding.js'
import { wideLinear } from './wide-linear.js'

export interface FluxBlockSettings {
  readonly heads: number
  readonly headSize: number
}

/** The feed-forward's width as a multiple of the network's, fixed in diffusers. */
const feedForwardRatio = 4

/** Of the RMS norms of queries and keys. */
const epsilon = 1e-6

/** Shift, scale and gate of a branch, each [batch, 1, channels], float32. */
interface Branch {
  readonly shift: ValueInfo
  readonly scaling: ValueInfo
  readonly gate: ValueInfo
}

/** AdaLayerNormZero's and AdaLayerNormZeroSingle's Linear: `count` branches of shift, scale and gate. */
function branches(graph: GraphBuilder, temb: ValueInfo, name: string, channels: number, count: 1 | 2): Branch[] {
  const parts = modulations(graph, temb, `${name}.linear`, channels, 3 * count).map((part) => toFloat32(graph, part))
  return Array.from({ length: count }, (_, index) => {
    const [shift, scaling, gate] = parts.slice(3 * index)
    if (shift === undefined || scaling === undefined || gate === undefined) throw new Error('Split returned too few parts')
    return { shift, scaling, gate }
  })
}

/** The norm before a branch, in the graph's type. */
function normed(graph: GraphBuilder, x: ValueInfo, { shift, scaling }: Branch): ValueInfo {
  return toCompute(graph, modulate(graph, plainNorm(graph, x), shift, scaling))
}

/** Query, key and value, with the norms of each head. */
interface Projections {
  readonly query: ValueInfo
  readonly key: ValueInfo
  readonly value: ValueInfo
}

const ownNames = { query: 'to_q', key: 'to_k', value: 'to_v', queryNorm: 'norm_q', keyNorm: 'norm_k' } as const
const addedNames = {
  query: 'add_q_proj',
  key: 'add_k_proj',
  value: 'add_v_proj',
  queryNorm: 'norm_added_q',
  keyNorm: 'norm_added_k',
} as const

function projections(
  graph: GraphBuilder,
  x: ValueInfo,
  names: typeof ownNames | typeof addedNames,
  { heads, headSize }: FluxBlockSettings,
): Projections {
  const project = (name: string) => tokenLinear(graph, x, name, heads * headSize)
  return {
    query: headNorm(graph, project(names.query), names.queryNorm, headSize, epsilon),
    key: headNorm(graph, project(names.key), names.keyNorm, headSize, epsilon),
    value: project(names.value),
  }
}

function attention(graph: GraphBuilder, { query, key, value }: Projections, tables: RotaryInputs, heads: number): ValueInfo {
  const turned = { query: rotary(graph, query, tables, 'neighbours'), key: rotary(graph, key, tables, 'neighbours'), value }
  return multiHeadAttention(graph, turned, heads)
}

/** What a block takes besides the tokens: SiLU of the time embedding, [batch, channels], and the tables of all tokens, the prompt's first. */
export interface FluxBlockInputs extends RotaryInputs {
  readonly temb: ValueInfo
}

/** FluxTransformerBlock, on image tokens `hidden` and prompt tokens `context`, float32. */
export function fluxTransformerBlock(
  graph: GraphBuilder,
  { hidden, context }: { readonly hidden: ValueInfo; readonly context: ValueInfo },
  { temb, ...tables }: FluxBlockInputs,
  settings: FluxBlockSettings,
): { readonly hidden: ValueInfo; readonly context: ValueInfo } {
  const channels = dimension(hidden, 2)
  const [own, ownFeed] = branches(graph, temb, 'norm1', channels, 2)
  const [added, addedFeed] = branches(graph, temb, 'norm1_context', channels, 2)
  if (own === undefined || ownFeed === undefined || added === undefined || addedFeed === undefined)
    throw new Error('Split returned too few parts')

  const attended = graph.scoped('attn', () => {
    const ours = projections(graph, normed(graph, hidden, own), ownNames, settings)
    const theirs = projections(graph, normed(graph, context, added), addedNames, settings)
    const joined = (key: keyof Projections) => concat(graph, [theirs[key], ours[key]], 1)
    const operands = { query: joined('query'), key: joined('key'), value: joined('value') }
    const both = attention(graph, operands, tables, settings.heads)
    const [prompt, image] = split(graph, both, [dimension(context, 1), dimension(hidden, 1)], 1)
    if (prompt === undefined || image === undefined) throw new Error('Split returned too few parts')
    return { hidden: wideLinear(graph, image, 'to_out.0', channels), context: wideLinear(graph, prompt, 'to_add_out', channels) }
  })
  const feedForward = (x: ValueInfo, branch: Branch, name: string) => {
    const inner = tokenLinear(graph, normed(graph, x, branch), `${name}.net.0.proj`, feedForwardRatio * channels)
    return addGated(graph, x, branch.gate, wideLinear(graph, gelu(graph, inner, 'tanh'), `${name}.net.2`, channels))
  }
  return {
    hidden: feedForward(addGated(graph, hidden, own.gate, attended.hidden), ownFeed, 'ff'),
    context: feedForward(addGated(graph, context, added.gate, attended.context), addedFeed, 'ff_context'),
  }
}

/** FluxSingleTransformerBlock, on prompt and image tokens in this order, float32. */
export function fluxSingleTransformerBlock(
  graph: GraphBuilder,
  x: ValueInfo,
  { temb, ...tables }: FluxBlockInputs,
  settings: FluxBlockSettings,
): ValueInfo {
  const channels = dimension(x, 2)
  const [branch] = branches(graph, temb, 'norm', channels, 1)
  if (branch === undefined) throw new Error('Split returned too few parts')
  const given = normed(graph, x, branch)
  const inner = gelu(graph, tokenLinear(graph, given, 'proj_mlp', feedForwardRatio * channels), 'tanh')
  const attended = graph.scoped('attn', () =>
    attention(graph, projections(graph, given, ownNames, settings), tables, settings.heads),
  )
  return addGated(graph, x, branch.gate, wideLinear(graph, concat(graph, [attended, inner], 2), 'proj_out', channels))
}
