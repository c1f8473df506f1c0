/**
 * Adaptive norms: a norm without weights, then a scale and a shift that are computed from the time embedding, and a gate for what a branch adds to
 * the residual. Tokens are [batch, tokens, channels]; a modulation is [batch, 1, channels] or, for all rows of the batch, [1, 1, channels]. A
 * network whose blocks share their modulations computes them in a stage of its own and passes them on.
 */

import { constantVector, floats } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul, tanh } from '../../onnx/ops-math.js'
import { layerNormalization } from '../../onnx/ops-network.js'
import { cast, dimension, reshape, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { linear, toCompute, toFloat32 } from './layers.js'

/** torch.nn.LayerNorm without weights (`elementwise_affine=False`) over the last axis. */
export function plainNorm(graph: GraphBuilder, x: ValueInfo, epsilon = 1e-6): ValueInfo {
  const ones = constantVector(graph, dimension(x, x.dims.length - 1), 1, x.type)
  return layerNormalization(graph, x, ones, undefined, epsilon)
}

/** x · factor + shift. `factor` is 1 + scale, as {@link modulationRows} gives it. */
export function modulate(graph: GraphBuilder, x: ValueInfo, shift: ValueInfo, factor: ValueInfo): ValueInfo {
  return add(graph, mul(graph, x, factor), shift)
}

/**
 * Like {@link modulate}, for a value that other operators read too. A GPU may compute a product and its first operand in one kernel, which
 * writes only the product to memory (runtime/webgpu/kernels/joint-steps.ts). So the value is the second operand here.
 */
export function modulateShared(graph: GraphBuilder, x: ValueInfo, shift: ValueInfo, factor: ValueInfo): ValueInfo {
  return add(graph, mul(graph, factor, x), shift)
}

/** hidden + update · gate, both operations in the type of `hidden`: where the residual stream is float32, the product is too. */
export function addGated(graph: GraphBuilder, hidden: ValueInfo, gate: ValueInfo, update: ValueInfo): ValueInfo {
  return add(graph, hidden, mul(graph, cast(graph, update, hidden.type), cast(graph, gate, hidden.type)))
}

/** hidden + tanh(gate) · update, as in Lumina 2 and Z-Image. */
export function addTanhGated(graph: GraphBuilder, hidden: ValueInfo, gate: ValueInfo, update: ValueInfo): ValueInfo {
  return addGated(graph, hidden, tanh(graph, gate), update)
}

/** The kinds of a modulation's parts. As in diffusers, normalized tokens are multiplied by 1 + scale. */
export type ModulationPart = 'shift' | 'scale' | 'gate'

/** The parts of the modulation of one branch, and of two branches (attention and feed-forward), in order. */
export const branchParts = ['shift', 'scale', 'gate'] as const
export const twoBranchParts = [...branchParts, ...branchParts] as const

/**
 * A Linear on the time embedding [batch, width] (or on a value computed from it), split into modulations of [batch, 1, channels], float32.
 * For each scale, the result is 1 + scale.
 */
export function modulations<Parts extends readonly ModulationPart[]>(
  graph: GraphBuilder,
  temb: ValueInfo,
  name: string,
  channels: number,
  parts: Parts,
  options: { readonly bias?: boolean } = {},
): Modulations<Parts> {
  const rows = linear(graph, temb, name, parts.length * channels, options)
  return cutModulations(graph, modulationRows(graph, rows, parts), parts)
}

/** One value for each part. */
export type Modulations<Parts> = { readonly [Index in keyof Parts]: ValueInfo }

/** The rows [batch, parts · channels] of all parts in float32, with 1 + scale for each scale. One Add computes all of them. */
export function modulationRows(graph: GraphBuilder, rows: ValueInfo, parts: readonly ModulationPart[]): ValueInfo {
  const channels = dimension(rows, 1) / parts.length
  const ones = new Float32Array(parts.length * channels)
  for (const [index, part] of parts.entries()) if (part === 'scale') ones.fill(1, index * channels, (index + 1) * channels)
  return add(graph, toFloat32(graph, rows), floats(graph, ones, undefined, 'float32'))
}

/** Splits {@link modulationRows} into one modulation of [batch, 1, channels] for each part. */
export function cutModulations<Parts extends readonly ModulationPart[]>(
  graph: GraphBuilder,
  rows: ValueInfo,
  parts: Parts,
): Modulations<Parts> {
  const channels = dimension(rows, 1) / parts.length
  const sizes = parts.map(() => channels)
  const cut = split(graph, rows, sizes, 1).map((part) => reshape(graph, part, [dimension(rows, 0), 1, channels]))
  if (cut.length !== parts.length) throw new Error('Split returned too few parts')
  return cut as unknown as Modulations<Parts>
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
  const [factor, shift] = modulations(graph, temb, `${name}.linear`, dimension(x, 2), ['scale', 'shift'] as const, options)
  return toCompute(graph, modulate(graph, plainNorm(graph, x), shift, factor))
}
