/**
 * Root-mean-square norms: of tokens, and of each head of queries and keys. An RMS norm does not depend on the scale of its input. So where a product
 * before it leaves float16's range, the product's input is multiplied by a power of two, which rounds nothing, and the norm gives the same result.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { scale } from '../../onnx/ops-math.js'
import { rmsNormalization } from '../../onnx/ops-network.js'
import { cast, dimension, reshape } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'

/**
 * x · 2^−exponent in a float16 graph; `x` itself in a float32 graph. Pass the same `exponent` to {@link wideRmsNorm} for values that are
 * computed from the result.
 */
export function scaledDown(graph: GraphBuilder, x: ValueInfo, exponent: number): ValueInfo {
  return x.type === 'float16' ? scale(graph, x, 2 ** -exponent) : x
}

/** torch.nn.RMSNorm over the last axis, in the type of `x`, with statistics in float32. */
export function rmsNorm(graph: GraphBuilder, x: ValueInfo, name: string, epsilon: number): ValueInfo {
  const weight = cast(graph, graph.weight(`${name}.weight`, [dimension(x, x.dims.length - 1)]), x.type)
  return rmsNormalization(graph, x, weight, epsilon)
}

/**
 * {@link rmsNorm} for a residual stream in float32: the result is float32, because a few large weights make it larger than float16's
 * largest number. `x` is a linear function of a value that {@link scaledDown} divided by 2^exponent.
 */
export function wideRmsNorm(graph: GraphBuilder, x: ValueInfo, name: string, epsilon: number, exponent: number): ValueInfo {
  return rmsNorm(graph, cast(graph, x, 'float32'), name, x.type === 'float16' ? epsilon * 4 ** -exponent : epsilon)
}

/** An RMS norm of each head: [batch, tokens, heads · headSize] → the same, with one weight [headSize] for all heads. */
export function headNorm(graph: GraphBuilder, x: ValueInfo, name: string, headSize: number, epsilon: number): ValueInfo {
  const [batch, tokens, width] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  const heads = reshape(graph, x, [batch, tokens, width / headSize, headSize])
  return reshape(graph, rmsNorm(graph, heads, name, epsilon), x.dims)
}
