/** Converts the element types of checkpoints: to those of graphs, and to and from float32. */

import type { SafetensorsDType, TensorEntry } from './types.js'
import { CheckpointError } from '../errors.js'
import type { ElementType } from '../onnx/types.js'
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16, float8E4M3ToFloat32, float8E5M2ToFloat32 } from '../util/half.js'
import { dtypeBytes } from '../util/dtype-bytes.js'
import { elementCount } from '../util/element-count.js'

/** Bytes of one element of a graph value. */
export const elementBytes: Readonly<Record<ElementType, number>> = {
  float32: 4,
  float16: 2,
  int64: 8,
  int32: 4,
  uint8: 1,
  bool: 1,
}

/** For a stored type, the graph type with the same bytes. */
const same: Readonly<Partial<Record<SafetensorsDType, ElementType>>> = {
  F32: 'float32',
  F16: 'float16',
  I64: 'int64',
  I32: 'int32',
  U8: 'uint8',
  BOOL: 'bool',
}

/** Bytes of a value of this type and shape. */
export function valueBytes(type: ElementType, dims: readonly number[]): number {
  return elementCount(dims) * elementBytes[type]
}

/** Bytes of one stored element of `entry`. */
export function storedElementBytes(entry: TensorEntry): number {
  return dtypeBytes[entry.dtype]
}

/** Whether {@link convertElements} can convert `from` to `to`. */
export function isConvertible(from: SafetensorsDType, to: ElementType): boolean {
  return same[from] === to || (widen[from] !== undefined && (to === 'float32' || to === 'float16'))
}

/** @throws CheckpointError `dtype-not-convertible`, `shape-mismatch` when the tensor cannot fill a weight of this type and shape */
export function checkConvertible(entry: TensorEntry, type: ElementType, dims: readonly number[]): void {
  if (!isConvertible(entry.dtype, type))
    throw new CheckpointError('dtype-not-convertible', `Tensor ${entry.name} is ${entry.dtype}; the network expects ${type}.`, {
      tensor: entry.name,
      actual: entry.dtype,
      expected: type,
    })
  const bytes = elementCount(dims) * dtypeBytes[entry.dtype]
  if (entry.end - entry.begin !== bytes)
    throw new CheckpointError(
      'shape-mismatch',
      `Tensor ${entry.name} has shape [${entry.shape.join(', ')}] in ${entry.end - entry.begin} bytes; the network expects [${dims.join(', ')}] in ${bytes}.`,
      { tensor: entry.name, actual: entry.shape, expected: dims },
    )
}

/** Copies bytes that are not aligned as a typed array requires. */
function aligned(bytes: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice()
}

type Bytes = Uint8Array<ArrayBuffer>

function words(bytes: Bytes): Uint16Array<ArrayBuffer> {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
}

/** Float types and how their (aligned) bytes become float32. */
const widen: Readonly<Partial<Record<SafetensorsDType, (bytes: Bytes) => Float32Array<ArrayBuffer>>>> = {
  F64: (bytes) => new Float32Array(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)),
  F32: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4),
  F16: (bytes) => float16ToFloat32(words(bytes)),
  BF16: (bytes) => bfloat16ToFloat32(words(bytes)),
  F8_E4M3: float8E4M3ToFloat32,
  F8_E5M2: float8E5M2ToFloat32,
}

function toFloat32(bytes: Bytes, from: SafetensorsDType): Float32Array<ArrayBuffer> {
  const convert = widen[from]
  if (convert === undefined)
    throw new CheckpointError('dtype-not-convertible', `${from} is not a floating-point type.`, { actual: from })
  return convert(aligned(bytes, dtypeBytes[from]))
}

/** Converts whole stored elements to the type `to`. Returns the same memory if nothing changes. */
export function convertElements(
  bytes: Uint8Array<ArrayBuffer>,
  from: SafetensorsDType,
  to: ElementType,
): Uint8Array<ArrayBuffer> {
  if (same[from] === to) return bytes
  const wide = toFloat32(bytes, from)
  const result = to === 'float16' ? float32ToFloat16(wide) : wide
  return new Uint8Array(result.buffer, result.byteOffset, result.byteLength)
}

/** Floating-point types that can be decoded. */
export type FloatDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'F8_E4M3' | 'F8_E5M2'

/** Types that can be encoded. */
export type TargetDType = 'F32' | 'F16' | 'BF16'

/** Whether this is a floating-point type. Tensors of integers and booleans are not cast. */
export function isFloatDType(dtype: SafetensorsDType): dtype is FloatDType {
  return dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F8_E4M3' || dtype === 'F8_E5M2'
}

/** Converts `bytes` of `dtype` to float32: exactly, except F64, which is rounded. F32 in aligned memory is not copied. */
export function decodeFloats(bytes: Uint8Array<ArrayBuffer>, dtype: FloatDType): Float32Array<ArrayBuffer> {
  if (dtype === 'F8_E4M3') return float8E4M3ToFloat32(bytes)
  if (dtype === 'F8_E5M2') return float8E5M2ToFloat32(bytes)
  if (dtype === 'F64') return toFloat32(bytes, dtype)
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  if (dtype === 'F32') return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4)
  const patterns = new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2)
  return dtype === 'F16' ? float16ToFloat32(patterns) : bfloat16ToFloat32(patterns)
}

/** Reads a whole floating-point tensor as float32. @throws CheckpointError `dtype-not-convertible`, what its source throws */
export async function readFloats(
  { source, begin, end, dtype }: TensorEntry,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Float32Array<ArrayBuffer>> {
  return toFloat32(await source.read({ begin, end }, options), dtype)
}

/** Narrows float32 to `dtype`, rounding to nearest even, and returns the bytes. F32 is not copied. */
export function encodeFloats(values: Float32Array<ArrayBuffer>, dtype: TargetDType): Uint8Array<ArrayBuffer> {
  if (dtype === 'F32') return bytesOf(values)
  return bytesOf(dtype === 'F16' ? float32ToFloat16(values) : float32ToBfloat16(values))
}

/** The memory of a typed array as bytes. */
export function bytesOf(array: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

/** float32 → bfloat16 bit patterns, to nearest even; NaN stays NaN. */
function float32ToBfloat16(source: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length)
  const result = new Uint16Array(source.length)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] as number
    // Rounding up would carry a NaN's mantissa into its exponent.
    result[i] = (value & 0x7fff_ffff) > 0x7f80_0000 ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
  return result
}

/** The number of finite `values` that are infinite in `narrowed`, their float16 bytes. */
export function countOverflows(values: Float32Array, narrowed: Uint8Array<ArrayBuffer>): number {
  const patterns = new Uint16Array(narrowed.buffer, narrowed.byteOffset, narrowed.byteLength / 2)
  let count = 0
  for (let i = 0; i < patterns.length; i++) {
    if (((patterns[i] as number) & 0x7fff) === 0x7c00 && Number.isFinite(values[i])) count++
  }
  return count
}
