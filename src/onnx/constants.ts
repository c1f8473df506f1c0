/** Encodes small constants as ONNX stores them: JavaScript numbers to little-endian bytes of an element type. Weights never pass through here. */

import { float32ToFloat16 } from '../util/half.js'
import type { GraphBuilder } from './graph-builder.js'
import type { ElementType, ValueInfo } from './types.js'

/** Encodes `values` as the little-endian bytes of a float tensor. */
function floatBytes(type: 'float32' | 'float16', values: ArrayLike<number>): Uint8Array {
  const rounded = values instanceof Float32Array ? values : Float32Array.from(values)
  if (type === 'float16') {
    const patterns = float32ToFloat16(rounded)
    const view = new DataView(new ArrayBuffer(patterns.byteLength))
    for (let index = 0; index < patterns.length; index++) view.setUint16(index * 2, patterns[index] ?? 0, true)
    return new Uint8Array(view.buffer)
  }
  const view = new DataView(new ArrayBuffer(rounded.byteLength))
  for (let index = 0; index < rounded.length; index++) view.setFloat32(index * 4, rounded[index] ?? 0, true)
  return new Uint8Array(view.buffer)
}

/** Adds a constant float tensor to the model. */
export function floats(
  graph: GraphBuilder,
  values: ArrayLike<number>,
  dims: readonly number[] = [values.length],
  type: ElementType = graph.options.dtype,
): ValueInfo {
  if (type !== 'float32' && type !== 'float16') throw new Error(`A float constant cannot have the type ${type}`)
  return graph.constant(type, dims, floatBytes(type, values))
}

/** Adds a constant float vector of `length` equal values to the model. */
export function constantVector(graph: GraphBuilder, length: number, value: number, type?: ElementType): ValueInfo {
  return floats(graph, new Float32Array(length).fill(value), undefined, type)
}

/** Adds a constant float scalar to the model. */
export function scalar(graph: GraphBuilder, value: number, type: ElementType = graph.options.dtype): ValueInfo {
  return floats(graph, [value], [], type)
}

/** Adds a constant int64 tensor, the type of shapes, axes and sizes. By default it has one dimension. */
export function integers(graph: GraphBuilder, values: readonly number[], dims: readonly number[] = [values.length]): ValueInfo {
  const bytes = new Uint8Array(values.length * 8)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of values.entries()) view.setBigInt64(index * 8, BigInt(value), true)
  return graph.constant('int64', dims, bytes)
}

/** Adds a constant int32 tensor, for Gather's indices: the WebGPU provider keeps int32 on the GPU. */
export function int32s(graph: GraphBuilder, values: readonly number[], dims: readonly number[]): ValueInfo {
  const bytes = new Uint8Array(values.length * 4)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of values.entries()) view.setInt32(index * 4, value, true)
  return graph.constant('int32', dims, bytes)
}
