/** Biases that attention adds to its scores, so that a token does not attend to padding, or to later tokens. */

import { floats, scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, relu, scale, sub } from '../../onnx/ops-math.js'
import { dimension, reshape } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute } from './layers.js'

/** Subtracted from the scores of a token that is not attended to: its softmax is 0 in float32 and in float16. */
const never = 10_000

/** The bias of an `attention_mask` [batch, tokens], as [batch, 1, 1, tokens]: 0 where the mask is 1, −10000 where the mask is 0. */
export function paddingBias(graph: GraphBuilder, mask: ValueInfo): ValueInfo {
  const given = toCompute(graph, mask)
  const bias = scale(graph, sub(graph, given, scalar(graph, 1, given.type)), never)
  return reshape(graph, bias, [dimension(mask, 0), 1, 1, dimension(mask, 1)])
}

/** The bias of causal attention, [1, 1, tokens, tokens]: −10000 for each token after the one that attends, else 0. */
export function causalBias(graph: GraphBuilder, tokens: number): ValueInfo {
  // The graph computes the bias from the positions, because a table of all pairs would make the model large. float16 represents all whole
  // numbers up to 2048 exactly.
  const positions = Array.from({ length: tokens }, (_, index) => index)
  const type = tokens > 2048 ? 'float32' : graph.options.dtype
  const attending = floats(graph, positions, [1, 1, tokens, 1], type)
  const attended = floats(graph, positions, [1, 1, 1, tokens], type)
  const later = relu(graph, sub(graph, attended, attending))
  const isLater = sub(graph, later, relu(graph, sub(graph, later, scalar(graph, 1, type))))
  return toCompute(graph, scale(graph, isLater, -never))
}

/** {@link causalBias} together with {@link paddingBias}: [batch, 1, tokens, tokens]. */
export function causalPaddingBias(graph: GraphBuilder, mask: ValueInfo): ValueInfo {
  return add(graph, causalBias(graph, dimension(mask, 1)), paddingBias(graph, mask))
}
