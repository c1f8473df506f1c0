/** What the graphs of all text encoders have in common: attention masks, and the names of several hidden states. */

import { scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { scale, sub } from '../../onnx/ops-math.js'
import { dimension, reshape } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute } from '../layers/layers.js'

/** Added to the attention scores of padding: its softmax is 0 in float32 and in float16. */
const never = 10_000

/** The bias of an `attention_mask` [batch, tokens], as [batch, 1, 1, tokens]: 0 where it is 1, −10000 where it is 0. */
export function paddingBias(graph: GraphBuilder, mask: ValueInfo): ValueInfo {
  const given = toCompute(graph, mask)
  const bias = scale(graph, sub(graph, given, scalar(graph, 1, given.type)), never)
  return reshape(graph, bias, [dimension(mask, 0), 1, 1, dimension(mask, 1)])
}

/** `hidden_state`, `hidden_state_1`, `hidden_state_2`, …: the name of the hidden state at a place of `GraphVariant.hiddenStates`. */
export function numbered<Name extends string>(name: Name, place: number): Name | `${Name}_${number}` {
  return place === 0 ? name : `${name}_${place}`
}
