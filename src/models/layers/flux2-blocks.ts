/**
 * The blocks of FLUX.2's transformer: diffusers' Flux2TransformerBlock, in which image and prompt tokens have weights of their own, and
 * Flux2SingleTransformerBlock, in which attention and feed-forward are side by side. Weight names are relative to the block. No Linear has a bias. Tokens are
 * [batch, tokens, channels].
 *
 * Between blocks the tokens are float32, also in a float16 graph: the networks were trained in bfloat16, and leave float16's range. diffusers bounds them in
 * float16 instead.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'

import { mul, scale, silu } from '../../onnx/ops-math.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { concat, dimension, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute, toFloat32, tokenLinear } from './layers.js'
import { addGated, cutModulations, modulate, plainNorm } from './modulation.js'
import { headNorm, scaledDown } from './rms-norm.js'
import { rotary, type RotaryInputs } from './rotary-embedding.js'

export interface Flux2BlockSettings {
  readonly heads: number
  readonly headSize: number
  /** The width of the feed-forward between its two Linears. */
  readonly inner: number
  readonly epsilon: number
}

/** Shift, scale and gate of a branch, each [batch, 1, channels]. */
interface Branch {
  readonly shift: ValueInfo
  readonly scaling: ValueInfo
  readonly gate: ValueInfo
}

const noBias = { bias: false } as const

/** Results up to 16 times float16's largest number are computed. */
const exponent = 4

/** Cuts modulations [batch, branches · 3 · channels] into those of each branch, in float32. */
function branches(graph: GraphBuilder, rows: ValueInfo, count: number): Branch[] {
  const parts = cutModulations(graph, toFloat32(graph, rows), 3 * count)
  return Array.from({ length: count }, (_, index) => {
    const [shift, scaling, gate] = parts.slice(3 * index)
    if (shift === undefined || scaling === undefined || gate === undefined) throw new Error('Split returned too few parts')
    return { shift, scaling, gate }
  })
}

/** The norm before a branch, in the graph's type. */
function normed(graph: GraphBuilder, x: ValueInfo, { shift, scaling }: Branch, epsilon: number): ValueInfo {
  return toCompute(graph, modulate(graph, plainNorm(graph, x, epsilon), shift, scaling))
}

/** SiLU(first half) · second half, times 2^−{@link exponent} in a float16 graph. */
function scaledSwiGlu(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const inner = dimension(x, 2) / 2
  const [gate, value] = split(graph, x, [inner, inner], 2)
  if (gate === undefined || value === undefined) throw new Error('Split returned too few parts')
  return mul(graph, silu(graph, gate), scaledDown(graph, value, exponent))
}

/** A Linear on what was scaled down by {@link exponent}, in float32 and scaled back. */
function scaledBack(graph: GraphBuilder, x: ValueInfo, name: string, channels: number): ValueInfo {
  const product = tokenLinear(graph, x, name, channels, noBias)
  return product.type === 'float16' ? scale(graph, toFloat32(graph, product), 2 ** exponent) : product
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
  { heads, headSize, epsilon }: Flux2BlockSettings,
): Projections {
  const project = (name: string) => tokenLinear(graph, x, name, heads * headSize, noBias)
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

/** What the double block takes besides the tokens: modulations [batch, 6 · channels] of the image and the prompt, and the tables of all tokens, the prompt's first. */
export interface Flux2BlockInputs extends RotaryInputs {
  readonly image: ValueInfo
  readonly text: ValueInfo
}

/** Flux2TransformerBlock, on image tokens `hidden` and prompt tokens `context`, float32. */
export function flux2TransformerBlock(
  graph: GraphBuilder,
  tokens: { readonly hidden: ValueInfo; readonly context: ValueInfo },
  { image, text, ...tables }: Flux2BlockInputs,
  settings: Flux2BlockSettings,
): { readonly hidden: ValueInfo; readonly context: ValueInfo } {
  const { heads, inner, epsilon } = settings
  const channels = dimension(tokens.hidden, 2)
  const [own, ownFeed] = branches(graph, image, 2)
  const [added, addedFeed] = branches(graph, text, 2)
  if (own === undefined || ownFeed === undefined || added === undefined || addedFeed === undefined)
    throw new Error('Split returned too few parts')

  const attended = graph.scoped('attn', () => {
    const ours = projections(graph, normed(graph, tokens.hidden, own, epsilon), ownNames, settings)
    const theirs = projections(graph, normed(graph, tokens.context, added, epsilon), addedNames, settings)
    const joined = (key: keyof Projections) => concat(graph, [theirs[key], ours[key]], 1)
    const both = attention(graph, { query: joined('query'), key: joined('key'), value: joined('value') }, tables, heads)
    const sizes = [dimension(tokens.context, 1), dimension(tokens.hidden, 1)]
    const [context, hidden] = split(graph, scaledDown(graph, both, exponent), sizes, 1)
    if (context === undefined || hidden === undefined) throw new Error('Split returned too few parts')
    return {
      hidden: scaledBack(graph, hidden, 'to_out.0', channels),
      context: scaledBack(graph, context, 'to_add_out', channels),
    }
  })
  const feedForward = (x: ValueInfo, branch: Branch, name: string) =>
    graph.scoped(name, () => {
      const unit = scaledSwiGlu(graph, tokenLinear(graph, normed(graph, x, branch, epsilon), 'linear_in', 2 * inner, noBias))
      return addGated(graph, x, branch.gate, scaledBack(graph, unit, 'linear_out', channels))
    })
  return {
    hidden: feedForward(addGated(graph, tokens.hidden, own.gate, attended.hidden), ownFeed, 'ff'),
    context: feedForward(addGated(graph, tokens.context, added.gate, attended.context), addedFeed, 'ff_context'),
  }
}

/** Flux2SingleTransformerBlock, on prompt and image tokens in this order, float32. `modulation`: [batch, 3 · channels]. */
export function flux2SingleTransformerBlock(
  graph: GraphBuilder,
  x: ValueInfo,
  { modulation, ...tables }: RotaryInputs & { readonly modulation: ValueInfo },
  { heads, headSize, inner, epsilon }: Flux2BlockSettings,
): ValueInfo {
  const channels = dimension(x, 2)
  const [branch] = branches(graph, modulation, 1)
  if (branch === undefined) throw new Error('Split returned too few parts')
  const update = graph.scoped('attn', () => {
    const width = heads * headSize
    const given = normed(graph, x, branch, epsilon)
    const fused = tokenLinear(graph, given, 'to_qkv_mlp_proj', 3 * width + 2 * inner, noBias)
    const [query, key, value, feed] = split(graph, fused, [width, width, width, 2 * inner], 2)
    if (query === undefined || key === undefined || value === undefined || feed === undefined)
      throw new Error('Split returned too few parts')
    const operands = {
      query: headNorm(graph, query, 'norm_q', headSize, epsilon),
      key: headNorm(graph, key, 'norm_k', headSize, epsilon),
      value,
    }
    const attended = scaledDown(graph, attention(graph, operands, tables, heads), exponent)
    return scaledBack(graph, concat(graph, [attended, scaledSwiGlu(graph, feed)], 2), 'to_out', channels)
  })
  return addGated(graph, x, branch.gate, update)
}
