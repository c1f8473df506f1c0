/**
 * Gated linear units (arXiv 2002.05202) in the forms that networks use: SwiGLU, and GeGLU with exact or tanh Gelu; gate and value come from
 * two Linears, or from one.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { gelu, mul, silu } from '../../onnx/ops-math.js'
import { dimension, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { tokenLinear } from './layers.js'
import { scaledDown } from './rms-norm.js'

/** The activation of the gate: SwiGLU has `silu`, GeGLU one of the others. */
export type GateActivation = 'silu' | 'gelu' | 'gelu_tanh'

function activated(graph: GraphBuilder, gate: ValueInfo, activation: GateActivation): ValueInfo {
  return activation === 'silu' ? silu(graph, gate) : gelu(graph, gate, activation === 'gelu' ? 'none' : 'tanh')
}

/** activation(gate) · value. */
export function gatedUnit(graph: GraphBuilder, gate: ValueInfo, value: ValueInfo, activation: GateActivation): ValueInfo {
  return mul(graph, activated(graph, gate, activation), value)
}

/** {@link gatedUnit} of the two halves of the last axis; `first` says which half is the gate. */
export function gatedHalves(
  graph: GraphBuilder,
  x: ValueInfo,
  activation: GateActivation,
  first: 'gate-first' | 'value-first',
): ValueInfo {
  const axis = x.dims.length - 1
  const half = dimension(x, axis) / 2
  const [one, two] = split(graph, x, [half, half], axis)
  if (one === undefined || two === undefined) throw new Error('Split returned too few parts')
  return first === 'gate-first' ? gatedUnit(graph, one, two, activation) : gatedUnit(graph, two, one, activation)
}

/** The names of the three Linears: `gate_proj`, `up_proj`, `down_proj` in language models, `w1`, `w3`, `w2` in others. */
export interface GatedNames {
  readonly gate: string
  readonly value: string
  readonly out: string
}

/** A feed-forward of three Linears on tokens [batch, tokens, channels]: out(activation(gate(x)) · value(x)), without bias. */
export function gatedFeedForward(
  graph: GraphBuilder,
  x: ValueInfo,
  names: GatedNames,
  inner: number,
  activation: GateActivation,
): ValueInfo {
  const project = (name: string) => tokenLinear(graph, x, name, inner, { bias: false })
  const unit = gatedUnit(graph, project(names.gate), project(names.value), activation)
  return tokenLinear(graph, unit, names.out, dimension(x, 2), { bias: false })
}

/**
 * {@link gatedFeedForward} for networks in which the unit or the result leaves float16's range. In a float16 graph the result is
 * 2^−exponent times that of a float32 graph: an RMS norm after it undoes the factor, or the caller multiplies the result by 2^exponent. The
 * gate is scaled down, so that no intermediate product is too large.
 */
export function scaledGatedFeedForward(
  graph: GraphBuilder,
  x: ValueInfo,
  names: GatedNames,
  inner: number,
  activation: GateActivation,
  exponent: number,
): ValueInfo {
  const project = (name: string) => tokenLinear(graph, x, name, inner, { bias: false })
  const gate = scaledDown(graph, activated(graph, project(names.gate), activation), exponent)
  return tokenLinear(graph, mul(graph, gate, project(names.value)), names.out, dimension(x, 2), { bias: false })
}
