/**
 * The parts that the blocks of FLUX.1, FLUX.2 and Chroma share: branches with a shift, a scale and a gate, and attention over the tokens of
 * prompt and image together. Rotary embeddings rotate the queries and keys. Weight names are relative to the block. Tokens are [batch,
 * tokens, channels], the prompt's first.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { concat, dimension, slice, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute, tokenLinear } from './layers.js'
import { branchParts, cutModulations, modulate, plainNorm, twoBranchParts } from './modulation.js'
import { headNorm } from './rms-norm.js'
import { rotary, type RotaryInputs } from './rotary-embedding.js'

/** Image tokens `hidden` and prompt tokens `context`. */
export interface FluxTokens {
  readonly hidden: ValueInfo
  readonly context: ValueInfo
}

/** The attention of a block. Queries, keys and values are heads · headSize wide. */
export interface FluxAttentionSettings {
  readonly heads: number
  readonly headSize: number
  /** The epsilon of the norms. */
  readonly epsilon: number
  /** Whether the Linears of queries, keys and values have a bias. */
  readonly bias: boolean
}

/** The inputs of attention besides the tokens: the rotary tables of all tokens, and biases. */
export interface FluxAttentionInputs extends RotaryInputs {
  /**
   * For each row of the batch, the bias that attention adds to its scores, [1, 1, tokens, tokens]. A single tensor for all rows would
   * exceed the largest buffer that some GPUs allow.
   */
  readonly biases?: readonly ValueInfo[] | undefined
}

/** Shift, factor (1 + scale) and gate of a branch, each [batch, 1, channels], float32. */
export interface Branch {
  readonly shift: ValueInfo
  readonly factor: ValueInfo
  readonly gate: ValueInfo
}

/** Splits modulation rows (modulation.ts) into the parts of one branch. */
export function branch(graph: GraphBuilder, rows: ValueInfo): Branch {
  const [shift, factor, gate] = cutModulations(graph, rows, branchParts)
  return { shift, factor, gate }
}

/** Splits modulation rows (modulation.ts) into the parts of the attention and of the feed-forward. */
export function branches(graph: GraphBuilder, rows: ValueInfo): { readonly attention: Branch; readonly feed: Branch } {
  const [shift, factor, gate, ...feed] = cutModulations(graph, rows, twoBranchParts)
  return { attention: { shift, factor, gate }, feed: { shift: feed[0], factor: feed[1], gate: feed[2] } }
}

/** The norm before a branch, in the graph's type. */
export function branchNorm(graph: GraphBuilder, x: ValueInfo, { shift, factor }: Branch, epsilon: number): ValueInfo {
  return toCompute(graph, modulate(graph, plainNorm(graph, x, epsilon), shift, factor))
}

/** Query, key and value. Query and key are after the RMS norm of each head. */
export interface Projections {
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

/** The projections of image tokens, or of all tokens. */
export function projections(
  graph: GraphBuilder,
  x: ValueInfo,
  { heads, headSize, epsilon, bias }: FluxAttentionSettings,
  names: typeof ownNames | typeof addedNames = ownNames,
): Projections {
  const project = (name: string) => tokenLinear(graph, x, name, heads * headSize, { bias })
  return {
    query: headNorm(graph, project(names.query), names.queryNorm, headSize, epsilon),
    key: headNorm(graph, project(names.key), names.keyNorm, headSize, epsilon),
    value: project(names.value),
  }
}

/** Attention over all tokens, [batch, tokens, heads · headSize]. */
export function fluxAttention(
  graph: GraphBuilder,
  { query, key, value }: Projections,
  { cos, sin, biases }: FluxAttentionInputs,
  heads: number,
): ValueInfo {
  const turn = (x: ValueInfo) => rotary(graph, x, { cos, sin }, 'neighbours')
  const turned = { query: turn(query), key: turn(key), value }
  if (biases === undefined) return multiHeadAttention(graph, turned, heads)
  const rows = biases.map((bias, row) => {
    const own = (x: ValueInfo) => slice(graph, x, 0, row, row + 1)
    return multiHeadAttention(graph, { query: own(turned.query), key: own(turned.key), value: own(value), bias }, heads)
  })
  return concat(graph, rows, 0)
}

/**
 * Attention of normed prompt and image tokens, each with projections of its own. `finish` is applied to the result before it is split into
 * prompt and image.
 */
export function promptAndImageAttention(
  graph: GraphBuilder,
  { hidden, context }: FluxTokens,
  inputs: FluxAttentionInputs,
  settings: FluxAttentionSettings,
  finish: (attended: ValueInfo) => ValueInfo = (attended) => attended,
): FluxTokens {
  const ours = projections(graph, hidden, settings)
  const theirs = projections(graph, context, settings, addedNames)
  const joined = (key: keyof Projections) => concat(graph, [theirs[key], ours[key]], 1)
  const operands = { query: joined('query'), key: joined('key'), value: joined('value') }
  const both = finish(fluxAttention(graph, operands, inputs, settings.heads))
  const [prompt, image] = split(graph, both, [dimension(context, 1), dimension(hidden, 1)], 1)
  if (prompt === undefined || image === undefined) throw new Error('Split returned too few parts')
  return { hidden: image, context: prompt }
}
