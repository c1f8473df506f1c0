/**
 * Adaptive norms: a norm without weights, then a scale and a shift that are computed from the time embedding, and a gate for what a branch adds to
 * the residual. Tokens are [batch, tokens, channels]; a modulation is [batch, 1, channels] or, for all rows of the batch, [1, 1, channels]. A
 * network whose blocks share their modulations computes them in a stage of its own and passes them on.
 */

import { floats, scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul, tanh } from '../../onnx/ops-math.js'
import { layerNormalization } from '../../onnx/ops-network.js'
import { cast, dimension, reshape, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { linear, toCompute } from './layers.js'

/** torch.nn.LayerNorm without weights (`elementwise_affine=False`) over the last axis. */
export function plainNorm(graph: GraphBuilder, x: ValueInfo, epsilon = 1e-6): ValueInfo {
  const ones = floats(
    graph,
    Array.from({ length: dimension(x, x.dims.length - 1) }, () => 1),
    undefined,
    x.type,
  )
  return layerNormalization(graph, x, ones, undefined, epsilon)
}

/** x · (1 + scale). */
export function modulateScale(graph: GraphBuilder, x: ValueInfo, scaling: ValueInfo): ValueInfo {
  return mul(graph, x, add(graph, scaling, scalar(graph, 1, scaling.type)))
}

/** x · (1 + scale) + shift. */
export function modulate(graph: GraphBuilder, x: ValueInfo, shift: ValueInfo, scaling: ValueInfo): ValueInfo {
  return add(graph, modulateScale(graph, x, scaling), shift)
}

/** hidden + gate · update, both operations in the type of `hidden`: where the residual stream is float32, the product is too. */
export function addGated(graph: GraphBuilder, hidden: ValueInfo, gate: ValueInfo, update: ValueInfo): ValueInfo {
  return add(graph, hidden, mul(graph, cast(graph, gate, hidden.type), cast(graph, update, hidden.type)))
}

/** hidden + tanh(gate) · update, as in Lumina 2 and Z-Image. */
export function addTanhGated(graph: GraphBuilder, hidden: ValueInfo, gate: ValueInfo, update: ValueInfo): ValueInfo {
  return addGated(graph, hidden, tanh(graph, gate), update)
}

/** A Linear on the time embedding [batch, width] (or on what is computed from it), cut into `count` modulations of [batch, 1, channels]. */
export function modulations(
  graph: GraphBuilder,
  temb: ValueInfo,
  name: string,
  channels: number,
  count: number,
  options: { readonly bias?: boolean } = {},
): ValueInfo[] {
  return cutModulations(graph, linear(graph, temb, name, count * channels, options), count)
}

/** Cuts [batch, count · channels] into `count` modulations of [batch, 1, channels]. */
export function cutModulations(graph: GraphBuilder, rows: ValueInfo, count: number): ValueInfo[] {
  const channels = dimension(rows, 1) / count
  const sizes = Array.from({ length: count }, () => channels)
  return split(graph, rows, sizes, 1).map((part) => reshape(graph, part, [dimension(rows, 0), 1, channels]))
}

/**
 * AdaLayerNormContinuous without weights of its own; `temb` is SiLU of the time embedding. The order is scale, then shift. `x` may be a float32 residual
 * stream; the result is in the type in which the graph computes.
 */
export function adaLayerNormContinuous(
  graph: GraphBuilder,
  x: ValueInfo,
  temb: ValueInfo,
  name: string,
  options: { readonly bias?: boolean } = {},
): ValueInfo {
  const [scaling, shift] = modulations(graph, temb, `${name}.linear`, dimension(x, 2), 2, options)
  if (scaling === undefined || shift === undefined) throw new Error('Split returned too few parts')
  return modulate(graph, toCompute(graph, plainNorm(graph, x)), shift, scaling)
}
