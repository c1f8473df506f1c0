/** ONNX operators that move elements without computing: one function each, named as the operator. Each function computes its output's dims. */

import { floats, integers } from './constants.js'
import type { GraphBuilder } from './graph-builder.js'
import type { ElementType, ValueInfo } from './types.js'
import { elementCount } from '../util/element-count.js'

function single(values: readonly ValueInfo[]): ValueInfo {
  const [value] = values
  if (value === undefined) throw new Error('A node has no outputs')
  return value
}

/** Reshape to exactly `dims`. Returns `x` itself when nothing changes. */
export function reshape(graph: GraphBuilder, x: ValueInfo, dims: readonly number[]): ValueInfo {
  if (elementCount(dims) !== elementCount(x.dims)) throw new Error(`Cannot reshape [${x.dims.join()}] to [${dims.join()}]`)
  if (dims.length === x.dims.length && dims.every((dim, axis) => dim === x.dims[axis])) return x
  return single(graph.node({ op: 'Reshape', inputs: [x, integers(graph, dims)], outputs: [{ type: x.type, dims }] }))
}

/** Transpose: axis `i` of the result is axis `permutation[i]` of `x`. */
export function transpose(graph: GraphBuilder, x: ValueInfo, permutation: readonly number[]): ValueInfo {
  const dims = permutation.map((axis) => dimension(x, axis))
  const attributes = { perm: { kind: 'ints', value: permutation } } as const
  return single(graph.node({ op: 'Transpose', inputs: [x], outputs: [{ type: x.type, dims }], attributes }))
}

/** Concat along `axis`. */
export function concat(graph: GraphBuilder, parts: readonly ValueInfo[], axis: number): ValueInfo {
  const [first] = parts
  if (first === undefined) throw new Error('Concat needs at least one input')
  if (parts.length === 1) return first
  const total = sum(parts.map((part) => dimension(part, axis)))
  const dims = first.dims.map((dim, index) => (index === axis ? total : dim))
  const attributes = { axis: { kind: 'int', value: axis } } as const
  return single(graph.node({ op: 'Concat', inputs: parts, outputs: [{ type: first.type, dims }], attributes }))
}

/** The most outputs of one Split node. With its input they use the 8 storage buffers that every WebGPU device offers a shader. */
const mostSplitOutputs = 7

/** Split into parts of the given sizes along `axis`. Uses a tree of Split nodes if there are many parts. */
export function split(graph: GraphBuilder, x: ValueInfo, sizes: readonly number[], axis: number): ValueInfo[] {
  const total = sum(sizes)
  if (total !== dimension(x, axis)) throw new Error(`Cannot split ${dimension(x, axis)} into ${sizes.join(' + ')}`)
  if (sizes.length === 1) return [x]
  if (sizes.length > mostSplitOutputs) {
    const half = Math.ceil(sizes.length / 2)
    const groups = [sizes.slice(0, half), sizes.slice(half)]
    const parts = split(graph, x, groups.map(sum), axis)
    return parts.flatMap((part, index) => split(graph, part, groups[index] ?? [], axis))
  }
  const outputs = sizes.map((size) => ({ type: x.type, dims: x.dims.map((dim, index) => (index === axis ? size : dim)) }))
  return graph.node({
    op: 'Split',
    inputs: [x, integers(graph, sizes)],
    outputs,
    attributes: { axis: { kind: 'int', value: axis } },
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}

/** Slice: the elements with begin ≤ index < end along `axis`. */
export function slice(graph: GraphBuilder, x: ValueInfo, axis: number, begin: number, end: number): ValueInfo {
  if (begin < 0 || end > dimension(x, axis) || begin >= end)
    throw new Error(`Cannot slice ${begin}…${end} of ${dimension(x, axis)}`)
  if (begin === 0 && end === dimension(x, axis)) return x
  const dims = x.dims.map((dim, index) => (index === axis ? end - begin : dim))
  const inputs = [x, integers(graph, [begin]), integers(graph, [end]), integers(graph, [axis])]
  return single(graph.node({ op: 'Slice', inputs, outputs: [{ type: x.type, dims }] }))
}

/** Expand: `x` repeated along its axes of size 1, to `dims`. Returns `x` itself when nothing changes. */
export function expand(graph: GraphBuilder, x: ValueInfo, dims: readonly number[]): ValueInfo {
  const fits = dims.length === x.dims.length && dims.every((dim, axis) => dim === x.dims[axis] || x.dims[axis] === 1)
  if (!fits) throw new Error(`Cannot expand [${x.dims.join()}] to [${dims.join()}]`)
  if (dims.every((dim, axis) => dim === x.dims[axis])) return x
  return single(graph.node({ op: 'Expand', inputs: [x, integers(graph, dims)], outputs: [{ type: x.type, dims }] }))
}

/**
 * Adds `count` zeros at the end of `axis`, as Concat with Expand: onnxruntime's Pad kernel for float16 does not compile in Firefox. Returns `x`
 * itself when nothing changes.
 */
export function padEnd(graph: GraphBuilder, x: ValueInfo, axis: number, count: number): ValueInfo {
  if (count === 0) return x
  const dims = x.dims.map((dim, index) => (index === axis ? count : dim))
  const zero = floats(
    graph,
    [0],
    dims.map(() => 1),
    x.type,
  )
  return concat(graph, [x, expand(graph, zero, dims)], axis)
}

/** Resize of [batch, channels, height, width] by nearest neighbour, as torch's `interpolate(mode="nearest")`. */
export function resizeNearest(graph: GraphBuilder, x: ValueInfo, height: number, width: number): ValueInfo {
  const dims = [dimension(x, 0), dimension(x, 1), height, width]
  return single(
    graph.node({
      op: 'Resize',
      inputs: [x, undefined, undefined, integers(graph, dims)],
      outputs: [{ type: x.type, dims }],
      attributes: {
        mode: { kind: 'string', value: 'nearest' },
        coordinate_transformation_mode: { kind: 'string', value: 'asymmetric' },
        nearest_mode: { kind: 'string', value: 'floor' },
      },
    }),
  )
}

/** Cast. Returns `x` itself if it already has the type. */
export function cast(graph: GraphBuilder, x: ValueInfo, type: ElementType): ValueInfo {
  if (x.type === type) return x
  const codes: Partial<Record<ElementType, number>> = { float32: 1, float16: 10 }
  const to = codes[type]
  if (to === undefined) throw new Error(`Cannot cast to ${type}`)
  const attributes = { to: { kind: 'int', value: to } } as const
  return single(graph.node({ op: 'Cast', inputs: [x], outputs: [{ type, dims: x.dims }], attributes }))
}

/** Gather: the rows of `table` ([rows, width]) whose numbers are in `index` (int32, any dims). */
export function gather(graph: GraphBuilder, table: ValueInfo, index: ValueInfo): ValueInfo {
  const dims = [...index.dims, ...table.dims.slice(1)]
  const attributes = { axis: { kind: 'int', value: 0 } } as const
  return single(graph.node({ op: 'Gather', inputs: [table, index], outputs: [{ type: table.type, dims }], attributes }))
}

/** The size of `x` along `axis`, which must exist. */
export function dimension(x: ValueInfo, axis: number): number {
  const size = x.dims[axis]
  if (size === undefined) throw new Error(`${x.name} of [${x.dims.join()}] has no axis ${axis}`)
  return size
}
