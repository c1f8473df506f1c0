/**
 * The blocks of FLUX.2's transformer: diffusers' Flux2TransformerBlock, in which image and prompt tokens have weights of their own, and
 * Flux2SingleTransformerBlock, in which attention and feed-forward are side by side. Weight names are relative to the block. No Linear has a bias. Tokens are
 * [batch, tokens, channels].
 *
 * Between blocks the tokens are float32, also in a float16 graph: the networks were trained in bfloat16, and their tokens leave float16's range. diffusers
 * clips the tokens in float16 instead.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { mul, scale, silu } from '../../onnx/ops-math.js'
import { concat, dimension, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import {
  branch,
  branches,
  branchNorm,
  fluxAttention,
  promptAndImageAttention,
  type Branch,
  type FluxAttentionInputs,
  type FluxAttentionSettings,
  type FluxTokens,
} from './flux-attention.js'
import { toFloat32, tokenLinear } from './layers.js'
import { addGated } from './modulation.js'
import { headNorm, scaledDown } from './rms-norm.js'

export interface Flux2BlockSettings extends Omit<FluxAttentionSettings, 'bias'> {
  /** The width of the feed-forward between its two Linears. */
  readonly inner: number
}

const noBias = { bias: false } as const

/**
 * A float16 graph divides gated units and results of attention by 2 to this power, so that results up to 16 times float16's largest number
 * can be computed.
 */
const exponent = 4

/** SiLU(first half) · second half, times 2^−{@link exponent} in a float16 graph. */
function scaledSwiGlu(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const inner = dimension(x, 2) / 2
  const [gate, value] = split(graph, x, [inner, inner], 2)
  if (gate === undefined || value === undefined) throw new Error('Split returned too few parts')
  return mul(graph, silu(graph, gate), scaledDown(graph, value, exponent))
}

/** A Linear on values that were divided by 2^{@link exponent}: its result is multiplied by this factor, in float32. */
function scaledBack(graph: GraphBuilder, x: ValueInfo, name: string, channels: number): ValueInfo {
  const product = tokenLinear(graph, x, name, channels, noBias)
  return product.type === 'float16' ? scale(graph, toFloat32(graph, product), 2 ** exponent) : product
}

/** Flux2TransformerBlock on float32 tokens. `image` and `text`: the modulation rows (modulation.ts) of the image tokens and of the text tokens. */
export function flux2TransformerBlock(
  graph: GraphBuilder,
  { hidden, context }: FluxTokens,
  { image, text }: { readonly image: ValueInfo; readonly text: ValueInfo },
  inputs: FluxAttentionInputs,
  settings: Flux2BlockSettings,
): FluxTokens {
  const { inner, epsilon } = settings
  const channels = dimension(hidden, 2)
  const [own, added] = [branches(graph, image), branches(graph, text)]
  const attended = graph.scoped('attn', () => {
    const normed = {
      hidden: branchNorm(graph, hidden, own.attention, epsilon),
      context: branchNorm(graph, context, added.attention, epsilon),
    }
    const smaller = (x: ValueInfo) => scaledDown(graph, x, exponent)
    const both = promptAndImageAttention(graph, normed, inputs, { ...settings, ...noBias }, smaller)
    return {
      hidden: scaledBack(graph, both.hidden, 'to_out.0', channels),
      context: scaledBack(graph, both.context, 'to_add_out', channels),
    }
  })
  const feedForward = (x: ValueInfo, feed: Branch, name: string) =>
    graph.scoped(name, () => {
      const given = tokenLinear(graph, branchNorm(graph, x, feed, epsilon), 'linear_in', 2 * inner, noBias)
      return addGated(graph, x, feed.gate, scaledBack(graph, scaledSwiGlu(graph, given), 'linear_out', channels))
    })
  return {
    hidden: feedForward(addGated(graph, hidden, own.attention.gate, attended.hidden), own.feed, 'ff'),
    context: feedForward(addGated(graph, context, added.attention.gate, attended.context), added.feed, 'ff_context'),
  }
}

/** Flux2SingleTransformerBlock, on prompt and image tokens in this order, float32. `rows`: the block's modulation rows (modulation.ts). */
export function flux2SingleTransformerBlock(
  graph: GraphBuilder,
  x: ValueInfo,
  rows: ValueInfo,
  inputs: FluxAttentionInputs,
  { heads, headSize, inner, epsilon }: Flux2BlockSettings,
): ValueInfo {
  const channels = dimension(x, 2)
  const own = branch(graph, rows)
  const update = graph.scoped('attn', () => {
    const width = heads * headSize
    const given = branchNorm(graph, x, own, epsilon)
    const fused = tokenLinear(graph, given, 'to_qkv_mlp_proj', 3 * width + 2 * inner, noBias)
    const [query, key, value, feed] = split(graph, fused, [width, width, width, 2 * inner], 2)
    if (query === undefined || key === undefined || value === undefined || feed === undefined)
      throw new Error('Split returned too few parts')
    const operands = {
      query: headNorm(graph, query, 'norm_q', headSize, epsilon),
      key: headNorm(graph, key, 'norm_k', headSize, epsilon),
      value,
    }
    const attended = scaledDown(graph, fluxAttention(graph, operands, inputs, heads), exponent)
    return scaledBack(graph, concat(graph, [attended, scaledSwiGlu(graph, feed)], 2), 'to_out', channels)
  })
  return addGated(graph, x, own.gate, update)
}
