/**
 * The low-rank branches of adapters (LoRA) beside a Linear or a convolution. The layer's own weight stays as it is, quantized or not, and the scale is
 * an input of the component, so that it can change from run to run.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul } from '../../onnx/ops-math.js'
import { conv, gemm, type Pads } from '../../onnx/ops-network.js'
import { cast, dimension } from '../../onnx/ops-shape.js'
import type { AdapterBranch, ElementType, ValueInfo } from '../../onnx/types.js'

/** The names of a branch's factors in a network's weight table. */
export function factorNames(layer: string, id: number): { readonly a: string; readonly b: string } {
  return { a: `${layer}.lora_A.${id}`, b: `${layer}.lora_B.${id}` }
}

/** Adds the branches of the Linear `name` to its output `y` [rows, out]; `x` [rows, in] is its input. */
export function addLinearBranches(graph: GraphBuilder, x: ValueInfo, name: string, y: ValueInfo): ValueInfo {
  const [columns, out] = [dimension(x, 1), dimension(y, 1)]
  let sum = y
  for (const branch of graph.adapters(name, [out, columns])) {
    const names = factorNames(name, branch.id)
    const a = cast(graph, graph.weight(names.a, [branch.rank, columns]), x.type)
    const b = cast(graph, graph.weight(names.b, [out, branch.rank]), x.type)
    const scaled = mul(graph, gemm(graph, x, a), scaleOf(graph, branch, x.type))
    sum = gemm(graph, scaled, b, sum)
  }
  return sum
}

/** Adds the branches of the convolution `name` to its output `y`; `x` is its input. `options` are the convolution's own. */
export function addConvBranches(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  y: ValueInfo,
  options: { readonly kernel: number; readonly stride: number; readonly pads: Pads },
): ValueInfo {
  const { kernel, ...how } = options
  const [columns, out] = [dimension(x, 1), dimension(y, 1)]
  let sum = y
  for (const branch of graph.adapters(name, [out, columns, kernel, kernel])) {
    const names = factorNames(name, branch.id)
    const a = graph.weight(names.a, [branch.rank, columns, kernel, kernel])
    const b = graph.weight(names.b, [out, branch.rank, 1, 1])
    const scaled = mul(graph, conv(graph, x, a, undefined, how), scaleOf(graph, branch, x.type))
    sum = add(graph, sum, conv(graph, scaled, b, undefined))
  }
  return sum
}

function scaleOf(graph: GraphBuilder, { scale }: AdapterBranch, type: ElementType): ValueInfo {
  return cast(graph, graph.componentInput(scale, graph.options.dtype, [1]), type)
}
