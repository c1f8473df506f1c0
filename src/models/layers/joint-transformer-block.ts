/**
 * diffusers' JointTransformerBlock: the MMDiT block of SD3 and SD3.5, in which image and prompt tokens attend to each other.
 * Weight names are relative to the block. Tokens are [batch, tokens, channels] here, because each row of a batch has its own modulation.
 */

import { floats, scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, gelu, mul } from '../../onnx/ops-math.js'
import { layerNormalization, multiHeadAttention, rmsNormalization } from '../../onnx/ops-network.js'
import { cast, concat, dimension, reshape, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { linear, toCompute } from './layers.js'

export interface JointBlockSettings {
  readonly heads: number
  readonly headSize: number
  readonly qkNorm: boolean
  /** SD3.5: image tokens also attend to image tokens only. */
  readonly dualAttention: boolean
  /** True for the last block, after which nothing uses the prompt tokens. */
  readonly contextPreOnly: boolean
}

const epsilon = 1e-6

/** A Linear on each token: [batch, tokens, in] → [batch, tokens, out]. */
export function tokenLinear(graph: GraphBuilder, x: ValueInfo, name: string, out: number): ValueInfo {
  const [batch, tokens, width] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  return reshape(graph, linear(graph, reshape(graph, x, [batch * tokens, width]), name, out), [batch, tokens, out])
}

/** Layer norm without weights, of the residual stream; the result is in the type in which the graph computes. */
function plainNorm(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const width = dimension(x, 2)
  const ones = floats(
    graph,
    Array.from({ length: width }, () => 1),
    [width],
    x.type,
  )
  return toCompute(graph, layerNormalization(graph, x, ones, undefined, epsilon))
}

/** x · (1 + scale) + shift, with scale and shift [batch, 1, channels]. */
function modulate(graph: GraphBuilder, x: ValueInfo, shift: ValueInfo, scaling: ValueInfo): ValueInfo {
  return add(graph, mul(graph, x, add(graph, scaling, scalar(graph, 1))), shift)
}

/** A Linear on SiLU of the time embedding, cut into `count` modulations of [batch, 1, channels]. */
function modulations(graph: GraphBuilder, temb: ValueInfo, name: string, channels: number, count: number): ValueInfo[] {
  const rows = linear(graph, temb, name, count * channels)
  const parts = split(
    graph,
    rows,
    Array.from({ length: count }, () => channels),
    1,
  )
  return parts.map((part) => reshape(graph, part, [dimension(temb, 0), 1, channels]))
}

/** AdaLayerNormContinuous without weights of its own: the order is scale, then shift. */
export function adaLayerNormContinuous(graph: GraphBuilder, x: ValueInfo, temb: ValueInfo, name: string): ValueInfo {
  const [scaling, shift] = modulations(graph, temb, `${name}.linear`, dimension(x, 2), 2)
  if (scaling === undefined || shift === undefined) throw new Error('Split returned too few parts')
  return modulate(graph, plainNorm(graph, x), shift, scaling)
}

/** The results of AdaLayerNormZero and SD35AdaLayerNormZeroX; `second` is the input of the second attention. */
interface AdaptiveNorm {
  readonly normed: ValueInfo
  readonly gate: ValueInfo
  readonly shiftMlp: ValueInfo
  readonly scaleMlp: ValueInfo
  readonly gateMlp: ValueInfo
  readonly second: { readonly normed: ValueInfo; readonly gate: ValueInfo } | undefined
}

function adaLayerNormZero(graph: GraphBuilder, x: ValueInfo, temb: ValueInfo, name: string, dual: boolean): AdaptiveNorm {
  const parts = modulations(graph, temb, `${name}.linear`, dimension(x, 2), dual ? 9 : 6)
  const [shift, scaling, gate, shiftMlp, scaleMlp, gateMlp, shift2, scale2, gate2] = parts
  if (!shift || !scaling || !gate || !shiftMlp || !scaleMlp || !gateMlp) throw new Error('Split returned too few parts')
  const plain = plainNorm(graph, x)
  const normed = modulate(graph, plain, shift, scaling)
  const second = shift2 && scale2 && gate2 ? { normed: modulate(graph, plain, shift2, scale2), gate: gate2 } : undefined
  return { normed, gate, shiftMlp, scaleMlp, gateMlp, second }
}

/** Query, key and value of the image tokens or of the prompt tokens. */
interface Projections {
  readonly query: ValueInfo
  readonly key: ValueInfo
  readonly value: ValueInfo
}

/** Computes query, key and value of `x`, with RMS norms of each head if the network has them. */
function projections(
  graph: GraphBuilder,
  x: ValueInfo,
  names: Readonly<Record<keyof Projections, string>>,
  norms: Readonly<Record<'query' | 'key', string>>,
  settings: JointBlockSettings,
): Projections {
  const inner = settings.heads * settings.headSize
  const normed = (value: ValueInfo, name: string) => {
    if (!settings.qkNorm) return value
    const heads = reshape(graph, value, [dimension(value, 0), dimension(value, 1), settings.heads, settings.headSize])
    return reshape(
      graph,
      rmsNormalization(graph, heads, graph.weight(`${name}.weight`, [settings.headSize]), epsilon),
      value.dims,
    )
  }
  return {
    query: normed(tokenLinear(graph, x, names.query, inner), norms.query),
    key: normed(tokenLinear(graph, x, names.key, inner), norms.key),
    value: tokenLinear(graph, x, names.value, inner),
  }
}

const ownNames = { query: 'to_q', key: 'to_k', value: 'to_v' } as const
const ownNorms = { query: 'norm_q', key: 'norm_k' } as const
const addedNames = { query: 'add_q_proj', key: 'add_k_proj', value: 'add_v_proj' } as const
const addedNorms = { query: 'norm_added_q', key: 'norm_added_k' } as const

/** FeedForward with tanh Gelu. */
function feedForward(graph: GraphBuilder, x: ValueInfo, name: string): ValueInfo {
  const channels = dimension(x, 2)
  return tokenLinear(
    graph,
    gelu(graph, tokenLinear(graph, x, `${name}.net.0.proj`, 4 * channels), 'tanh'),
    `${name}.net.2`,
    channels,
  )
}

/** hidden + gate · update, both operations in the type of the residual stream. */
function gated(graph: GraphBuilder, hidden: ValueInfo, gate: ValueInfo, update: ValueInfo): ValueInfo {
  return add(graph, hidden, mul(graph, cast(graph, gate, hidden.type), cast(graph, update, hidden.type)))
}

/**
 * The block, on the float32 residual streams of image tokens and prompt tokens [batch, tokens, channels]; `temb` is SiLU of the time embedding. The result for the prompt
 * is undefined in the last block.
 */
export function jointTransformerBlock(
  graph: GraphBuilder,
  hidden: ValueInfo,
  context: ValueInfo,
  temb: ValueInfo,
  settings: JointBlockSettings,
): { readonly hidden: ValueInfo; readonly context: ValueInfo | undefined } {
  const channels = dimension(hidden, 2)
  const image = adaLayerNormZero(graph, hidden, temb, 'norm1', settings.dualAttention)
  const prompt = settings.contextPreOnly ? undefined : adaLayerNormZero(graph, context, temb, 'norm1_context', false)
  const promptNormed = prompt?.normed ?? adaLayerNormContinuous(graph, context, temb, 'norm1_context')

  const [attended, promptAttended] = graph.scoped('attn', () => {
    const own = projections(graph, image.normed, ownNames, ownNorms, settings)
    const added = projections(graph, promptNormed, addedNames, addedNorms, settings)
    const joined = (key: keyof Projections) => concat(graph, [own[key], added[key]], 1)
    const operands = { query: joined('query'), key: joined('key'), value: joined('value') }
    const both = multiHeadAttention(graph, operands, settings.heads)
    const [ours, theirs] = split(graph, both, [dimension(hidden, 1), dimension(context, 1)], 1)
    if (ours === undefined || theirs === undefined) throw new Error('Split returned too few parts')
    return [
      tokenLinear(graph, ours, 'to_out.0', channels),
      prompt === undefined ? undefined : tokenLinear(graph, theirs, 'to_add_out', channels),
    ] as const
  })

  let state = gated(graph, hidden, image.gate, attended)
  const { second } = image
  if (second !== undefined) {
    const alone = graph.scoped('attn2', () => {
      const own = projections(graph, second.normed, ownNames, ownNorms, settings)
      return tokenLinear(graph, multiHeadAttention(graph, own, settings.heads), 'to_out.0', channels)
    })
    state = gated(graph, state, second.gate, alone)
  }
  const finish = (x: ValueInfo, adaptive: AdaptiveNorm, name: string) =>
    gated(
      graph,
      x,
      adaptive.gateMlp,
      feedForward(graph, modulate(graph, plainNorm(graph, x), adaptive.shiftMlp, adaptive.scaleMlp), name),
    )
  state = finish(state, image, 'ff')
  if (prompt === undefined || promptAttended === undefined) return { hidden: state, context: undefined }
  return { hidden: state, context: finish(gated(graph, context, prompt.gate, promptAttended), prompt, 'ff_context') }
}
