/**
 * Linears whose results leave float16's range, such as the last Linear of a feed-forward in a network that was trained in bfloat16. The
 * input is multiplied by a power of two, which rounds nothing, and the result by its inverse, in float32.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, scale } from '../../onnx/ops-math.js'
import { cast } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toFloat32, tokenLinear } from './layers.js'
import { scaledDown } from './rms-norm.js'

/**
 * A Linear on tokens [batch, tokens, in] whose result is float32: for a residual stream in float32. The product is computed in the type of
 * `x`. With float32 `x` it is torch.nn.Linear. Results may be up to 2^exponent times float16's largest number, 65504. A GPU may flush
 * inputs below 2^(exponent − 14) to 0, so the exponent should be no larger than the network needs. Default 4: results up to a million.
 */
export function wideLinear(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  out: number,
  options: { readonly bias?: boolean; readonly exponent?: number } = {},
): ValueInfo {
  const { exponent = 4 } = options
  if (x.type === 'float32') return tokenLinear(graph, x, name, out, options)
  const product = tokenLinear(graph, scaledDown(graph, x, exponent), name, out, { bias: false })
  const sum = scale(graph, toFloat32(graph, product), 2 ** exponent)
  return options.bias === false ? sum : add(graph, sum, cast(graph, graph.weight(`${name}.bias`, [out]), 'float32'))
}
