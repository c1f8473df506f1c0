/**
 * diffusers' Transformer2DModel with continuous input: the attention of UNet2DConditionModel. It has three kinds of stages: image to tokens, a
 * BasicTransformerBlock, and tokens to image. Weight names are relative to the transformer or to the block.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add } from '../../onnx/ops-math.js'
import { geglu, multiHeadAttention } from '../../onnx/ops-network.js'
import { cast, dimension, reshape } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { addAndLayerNorm, groupNorm, imageToTokens, layerNorm, linear, tokensToImage } from './layers.js'

/** Options of a BasicTransformerBlock's attention. */
export interface BlockSettings {
  readonly batch: number
  readonly heads: number
  /** Whether scores and softmax are computed in float32, whatever the type of the graph. */
  readonly upcastAttention: boolean
}

/** The epsilons of both norms, which are constants in diffusers. */
const groupNormEpsilon = 1e-6
const layerNormEpsilon = 1e-5

/**
 * Group norm and `proj_in`: [batch, channels, height, width] → [batch · pixels, channels]. `proj_in` can be a 1×1
 * convolution or a Linear. Both are the same matrix, so it is always a Gemm on tokens.
 */
export function transformerIn(graph: GraphBuilder, x: ValueInfo, groups: number): ValueInfo {
  const normed = groupNorm(graph, x, 'norm', groups, groupNormEpsilon)
  return linear(graph, imageToTokens(graph, normed), 'proj_in', dimension(x, 1))
}

/** `proj_out` and the residual: tokens back to an image, plus the transformer's input. */
export function transformerOut(graph: GraphBuilder, hidden: ValueInfo, residual: ValueInfo): ValueInfo {
  const projected = linear(graph, hidden, 'proj_out', dimension(residual, 1))
  const size = { batch: dimension(residual, 0), height: dimension(residual, 2), width: dimension(residual, 3) }
  return add(graph, tokensToImage(graph, projected, size), residual)
}

/** Keys and values of an attention: [batch, tokens, channels], in the type in which scores are computed. */
export interface KeysAndValues {
  readonly key: ValueInfo
  readonly value: ValueInfo
}

/**
 * BasicTransformerBlock with layer norms and GEGLU, on `hidden` [batch · tokens, channels]. The second attention is to the prompt. The first is to
 * `hidden` itself or, if `first` is given, to the prompt too (`only_cross_attention`).
 */
export function basicTransformerBlock(
  graph: GraphBuilder,
  hidden: ValueInfo,
  first: KeysAndValues | undefined,
  second: KeysAndValues,
  settings: BlockSettings,
): ValueInfo {
  const given = layerNorm(graph, hidden, 'norm1', layerNormEpsilon)
  const attended = attention(graph, given, 'attn1', first, settings)
  const own = addAndLayerNorm(graph, hidden, attended, 'norm2', layerNormEpsilon)
  const prompted = attention(graph, own.normed, 'attn2', second, settings)
  const { sum, normed } = addAndLayerNorm(graph, own.sum, prompted, 'norm3', layerNormEpsilon)
  return add(graph, feedForward(graph, normed), sum)
}

/** The keys and values of an attention to the prompt's tokens, [batch, tokens, width]. Weight names are relative to the attention. */
export function promptKeysAndValues(
  graph: GraphBuilder,
  prompt: ValueInfo,
  channels: number,
  settings: BlockSettings,
): KeysAndValues {
  const rows = reshape(graph, prompt, [dimension(prompt, 0) * dimension(prompt, 1), dimension(prompt, 2)])
  return keysAndValues(graph, rows, channels, settings)
}

/** Keys and values of `rows` [batch · tokens, width], by Linears without bias. */
function keysAndValues(graph: GraphBuilder, rows: ValueInfo, channels: number, settings: BlockSettings): KeysAndValues {
  return { key: project(graph, rows, 'to_k', channels, settings), value: project(graph, rows, 'to_v', channels, settings) }
}

/** A projection without bias, for attention: [batch · tokens, width] → [batch, tokens, channels]. */
function project(graph: GraphBuilder, x: ValueInfo, name: string, channels: number, settings: BlockSettings): ValueInfo {
  const { batch, upcastAttention } = settings
  const rows = reshape(graph, linear(graph, x, name, channels, { bias: false }), [batch, dimension(x, 0) / batch, channels])
  return cast(graph, rows, upcastAttention ? 'float32' : graph.options.dtype)
}

/** Attention of normed tokens `x`, [batch · tokens, channels]: to the tokens that `given` describes, by default to themselves. */
function attention(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  given: KeysAndValues | undefined,
  settings: BlockSettings,
): ValueInfo {
  const channels = dimension(x, 1)
  return graph.scoped(name, () => {
    const query = project(graph, x, 'to_q', channels, settings)
    const { key, value } = given ?? keysAndValues(graph, x, channels, settings)
    const result = cast(graph, multiHeadAttention(graph, { query, key, value }, settings.heads), x.type)
    return linear(graph, reshape(graph, result, x.dims), 'to_out.0', channels)
  })
}

/** GEGLU and a Linear. If GEGLU is one kernel, this kernel also adds the bias of the product before it. */
function feedForward(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const channels = dimension(x, 1)
  const inner = 4 * channels
  const name = 'ff.net.0.proj'
  const isFused = graph.options.fusesGeglu === true
  const product = linear(graph, x, name, 2 * inner, { bias: !isFused })
  const bias = isFused ? graph.weight(`${name}.bias`, [2 * inner]) : undefined
  return linear(graph, geglu(graph, product, bias), 'ff.net.2', channels)
}
