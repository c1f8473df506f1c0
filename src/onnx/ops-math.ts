/** ONNX operators that compute element by element, reductions, Softmax and matrix products: one function each, named as the operator. */

import { integers, scalar } from './constants.js'
import type { Attribute } from './model-proto.js'
import type { GraphBuilder } from './graph-builder.js'
import { dimension } from './ops-shape.js'
import type { ValueInfo } from './types.js'

function unary(
  graph: GraphBuilder,
  op: string,
  x: ValueInfo,
  attributes: Readonly<Record<string, Attribute>> = {},
  domain: '' | 'com.microsoft' = '',
): ValueInfo {
  const [value] = graph.node({ op, domain, inputs: [x], outputs: [{ type: x.type, dims: x.dims }], attributes })
  if (value === undefined) throw new Error(`${op} returned no output`)
  return value
}

/** The dims of the result when two operands are broadcast as in numpy. */
function broadcast(a: ValueInfo, b: ValueInfo): number[] {
  const rank = Math.max(a.dims.length, b.dims.length)
  return Array.from({ length: rank }, (_, index) => {
    const x = a.dims[index - rank + a.dims.length] ?? 1
    const y = b.dims[index - rank + b.dims.length] ?? 1
    if (x !== y && x !== 1 && y !== 1) throw new Error(`[${a.dims.join()}] and [${b.dims.join()}] do not broadcast`)
    return Math.max(x, y)
  })
}

function binary(graph: GraphBuilder, op: string, a: ValueInfo, b: ValueInfo): ValueInfo {
  if (a.type !== b.type) throw new Error(`${op} cannot combine ${a.type} and ${b.type}`)
  const [value] = graph.node({ op, inputs: [a, b], outputs: [{ type: a.type, dims: broadcast(a, b) }] })
  if (value === undefined) throw new Error(`${op} returned no output`)
  return value
}

export function add(graph: GraphBuilder, a: ValueInfo, b: ValueInfo): ValueInfo {
  return binary(graph, 'Add', a, b)
}

export function sub(graph: GraphBuilder, a: ValueInfo, b: ValueInfo): ValueInfo {
  return binary(graph, 'Sub', a, b)
}

export function mul(graph: GraphBuilder, a: ValueInfo, b: ValueInfo): ValueInfo {
  return binary(graph, 'Mul', a, b)
}

export function div(graph: GraphBuilder, a: ValueInfo, b: ValueInfo): ValueInfo {
  return binary(graph, 'Div', a, b)
}

/** x · factor for a constant factor. Returns `x` itself if the factor is 1. */
export function scale(graph: GraphBuilder, x: ValueInfo, factor: number): ValueInfo {
  return factor === 1 ? x : mul(graph, x, scalar(graph, factor, x.type))
}

/** Batched matrix product of the last two axes; one operand may be a single matrix. */
export function matMul(graph: GraphBuilder, a: ValueInfo, b: ValueInfo): ValueInfo {
  if (a.dims.at(-1) !== b.dims.at(-2)) throw new Error(`MatMul cannot multiply [${a.dims.join()}] by [${b.dims.join()}]`)
  const batch = a.dims.length < b.dims.length ? b.dims.slice(0, -2) : a.dims.slice(0, -2)
  const dims = [...batch, dimension(a, a.dims.length - 2), dimension(b, b.dims.length - 1)]
  const [value] = graph.node({ op: 'MatMul', inputs: [a, b], outputs: [{ type: a.type, dims }] })
  if (value === undefined) throw new Error('MatMul returned no output')
  return value
}

/** Softmax along the last axis. */
export function softmax(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return unary(graph, 'Softmax', x, { axis: { kind: 'int', value: -1 } })
}

/** x · sigmoid(x), as com.microsoft's QuickGelu with alpha 1: one kernel instead of two for Sigmoid and Mul. */
export function silu(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return quickGelu(graph, x, 1)
}

/** x · sigmoid(alpha · x). CLIP's `quick_gelu` has alpha 1.702. */
export function quickGelu(graph: GraphBuilder, x: ValueInfo, alpha = 1.702): ValueInfo {
  return unary(graph, 'QuickGelu', x, { alpha: { kind: 'float', value: alpha } }, 'com.microsoft')
}

/** Gelu, exact (erf) or by tanh. */
export function gelu(graph: GraphBuilder, x: ValueInfo, approximate: 'none' | 'tanh' = 'none'): ValueInfo {
  return unary(graph, 'Gelu', x, { approximate: { kind: 'string', value: approximate } })
}

export function tanh(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return unary(graph, 'Tanh', x)
}

export function relu(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return unary(graph, 'Relu', x)
}

export function sqrt(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return unary(graph, 'Sqrt', x)
}

function reduceLast(graph: GraphBuilder, op: string, x: ValueInfo): ValueInfo {
  const axis = x.dims.length - 1
  const [value] = graph.node({
    op,
    inputs: [x, integers(graph, [axis])],
    outputs: [{ type: x.type, dims: x.dims.slice(0, axis) }],
    attributes: { keepdims: { kind: 'int', value: 0 } },
  })
  if (value === undefined) throw new Error(`${op} returned no output`)
  return value
}

/** ReduceL2: the length of each vector along the last axis. The result does not have this axis. */
export function l2Norm(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return reduceLast(graph, 'ReduceL2', x)
}

/** ReduceMean along the last axis. The result does not have this axis. */
export function mean(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return reduceLast(graph, 'ReduceMean', x)
}
