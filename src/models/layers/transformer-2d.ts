/**
 * diffusers' Transformer2DModel with continuous input: the attention of UNet2DConditionModel. It has three kinds of stages: image to tokens, a
 * BasicTransformerBlock, and tokens to image. Weight names are relative to the transformer or to the block.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, gelu, mul } from '../../onnx/ops-math.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { cast, dimension, reshape, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { groupNorm, imageToTokens, layerNorm, linear, tokensToImage } from './layers.js'

/** Options of a BasicTransformerBlock's attention. */
export interface BlockSettings {
  readonly batch: number
  readonly heads: number
  /** The first attention is a cross-attention to the prompt too. */
  readonly onlyCrossAttention: boolean
  /** Computes scores and softmax in float32, whatever the type of the graph. */
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

/** BasicTransformerBlock with layer norms and GEGLU. `hidden` [batch · tokens, channels], `context` [batch, prompt tokens, width]. */
export function basicTransformerBlock(
  graph: GraphBuilder,
  hidden: ValueInfo,
  context: ValueInfo,
  settings: BlockSettings,
): ValueInfo {
  const prompt = reshape(graph, context, [dimension(context, 0) * dimension(context, 1), dimension(context, 2)])
  const first = layerNorm(graph, hidden, 'norm1', layerNormEpsilon)
  let state = add(graph, attention(graph, first, settings.onlyCrossAttention ? prompt : first, 'attn1', settings), hidden)
  const second = layerNorm(graph, state, 'norm2', layerNormEpsilon)
  state = add(graph, attention(graph, second, prompt, 'attn2', settings), state)
  return add(graph, feedForward(graph, layerNorm(graph, state, 'norm3', layerNormEpsilon)), state)
}

/** Attention without bias on q, k and v; `x` and `source` are [batch · tokens, channels]. */
function attention(graph: GraphBuilder, x: ValueInfo, source: ValueInfo, name: string, settings: BlockSettings): ValueInfo {
  const channels = dimension(x, 1)
  const computeType = settings.upcastAttention ? 'float32' : x.type
  const project = (from: ValueInfo, weight: string) => {
    const rows = linear(graph, from, `${name}.${weight}`, channels, { bias: false })
    return cast(graph, reshape(graph, rows, [settings.batch, dimension(from, 0) / settings.batch, channels]), computeType)
  }
  const query = project(x, 'to_q')
  const key = project(source, 'to_k')
  const value = project(source, 'to_v')
  const attended = cast(graph, multiHeadAttention(graph, { query, key, value }, settings.heads), x.type)
  return linear(graph, reshape(graph, attended, x.dims), `${name}.to_out.0`, channels)
}

/** GEGLU and a Linear. Uses Split, Gelu and Mul, because onnxruntime's BiasSplitGelu does not compile for float16. */
function feedForward(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const channels = dimension(x, 1)
  const inner = 4 * channels
  const [state, gate] = split(graph, linear(graph, x, 'ff.net.0.proj', 2 * inner), [inner, inner], 1)
  if (state === undefined || gate === undefined) throw new Error('Split returned too few parts')
  return linear(graph, mul(graph, state, gelu(graph, gate)), 'ff.net.2', channels)
}
