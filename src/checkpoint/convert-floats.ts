/** Tensor bytes as they lie in a safetensors file, to float32 and back. Pure, over one piece at a time; little-endian, as every browser is. */

import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16, float8E4M3ToFloat32, float8E5M2ToFloat32 } from '../util/half.js'
import type { SafetensorsDType } from './types.js'

/** Types of real numbers that a conversion reads. */
export type FloatDType = 'F32' | 'F16' | 'BF16' | 'F8_E4M3' | 'F8_E5M2'

/** Types that a conversion writes. */
export type TargetDType = 'F32' | 'F16' | 'BF16'

/** Whether tensors of this type are cast; integers and truth values stay as they are, and so does float64. */
export function isFloatDType(dtype: SafetensorsDType): dtype is FloatDType {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F8_E4M3' || dtype === 'F8_E5M2'
}

/** Widens `bytes` of `dtype` to float32, exactly. F32 in aligned memory is not copied. */
export function decodeFloats(bytes: Uint8Array<ArrayBuffer>, dtype: FloatDType): Float32Array<ArrayBuffer> {
  if (dtype === 'F8_E4M3') return float8E4M3ToFloat32(bytes)
  if (dtype === 'F8_E5M2') return float8E5M2ToFloat32(bytes)
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  if (dtype === 'F32') return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4)
  const patterns = new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2)
  return dtype === 'F16' ? float16ToFloat32(patterns) : bfloat16ToFloat32(patterns)
}

/** Narrows float32 to `dtype`, to nearest even, and gives the bytes. F32 is not copied. */
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
    // Adding half of the last place would carry a NaN's mantissa into the exponent and out of it.
    result[i] = (value & 0x7fff_ffff) > 0x7f80_0000 ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
  return result
}

/** How many finite numbers of `values` became infinite in `narrowed`, their float16 bytes. */
export function countOverflows(values: Float32Array, narrowed: Uint8Array<ArrayBuffer>): number {
  const patterns = new Uint16Array(narrowed.buffer, narrowed.byteOffset, narrowed.byteLength / 2)
  let count = 0
  for (let i = 0; i < patterns.length; i++) {
    if (((patterns[i] as number) & 0x7fff) === 0x7c00 && Number.isFinite(values[i])) count++
  }
  return count
}
