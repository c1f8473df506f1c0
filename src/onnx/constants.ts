/** Small constants as ONNX holds them: JavaScript numbers to little-endian bytes of an element type. Weights never pass here. */

import { float32ToFloat16 } from '../util/half.js'
import type { GraphBuilder } from './graph-builder.js'
import type { ElementType, ValueInfo } from './types.js'

/** `values` as the little-endian bytes of a tensor of floats. */
function floatBytes(type: 'float32' | 'float16', values: readonly number[]): Uint8Array {
  const rounded = Float32Array.from(values)
  const patterns = type === 'float32' ? new Uint32Array(rounded.buffer) : float32ToFloat16(rounded)
  const size = patterns.BYTES_PER_ELEMENT
  const view = new DataView(new ArrayBuffer(patterns.byteLength))
  for (const [index, pattern] of patterns.entries()) {
    if (size === 4) view.setUint32(index * 4, pattern, true)
    else view.setUint16(index * 2, pattern, true)
  }
  return new Uint8Array(view.buffer)
}

/** A float tensor held in the model. */
export function floats(
  graph: GraphBuilder,
  values: readonly number[],
  dims: readonly number[] = [values.length],
  type: ElementType = graph.options.dtype,
): ValueInfo {
  if (type !== 'float32' && type !== 'float16') throw new Error(`No float constant of type ${type}`)
  return graph.constant(type, dims, floatBytes(type, values))
}

/** A float scalar held in the model. */
export function scalar(graph: GraphBuilder, value: number, type: ElementType = graph.options.dtype): ValueInfo {
  return floats(graph, [value], [], type)
}

/** A list of int64, as shapes, axes and sizes are given. */
export function integers(graph: GraphBuilder, values: readonly number[]): ValueInfo {
  const bytes = new Uint8Array(values.length * 8)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of values.entries()) view.setBigInt64(index * 8, BigInt(value), true)
  return graph.constant('int64', [values.length], bytes)
}

/** A tensor of int32, as Gather's indices are given: the WebGPU provider keeps these on the GPU. */
export function int32s(graph: GraphBuilder, values: readonly number[], dims: readonly number[]): ValueInfo {
  const bytes = new Uint8Array(values.length * 4)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of values.entries()) view.setInt32(index * 4, value, true)
  return graph.constant('int32', dims, bytes)
}
