/** Casts between float types by their definition in IEEE 754, as the reference for the hub's casts. */

import type { FloatDType, TargetDType } from '../../src/checkpoint/element-types.js'

/** Casts the bytes of `dtype` values to the bytes of `target` values. */
export function referenceCast(bytes: Uint8Array, dtype: FloatDType, target: TargetDType): Uint8Array {
  const source = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const width = dtype === 'F32' ? 4 : 2
  const count = bytes.byteLength / width
  const result = new Uint8Array(count * (target === 'F32' ? 4 : 2))
  const view = new DataView(result.buffer)
  for (let i = 0; i < count; i++) {
    const stored = width === 4 ? source.getUint32(4 * i, true) : source.getUint16(2 * i, true)
    const wide = dtype === 'F32' ? stored : dtype === 'BF16' ? stored * 0x1_0000 : widenHalf(stored)
    if (target === 'F32') view.setUint32(4 * i, wide, true)
    else view.setUint16(2 * i, narrowToHalf(wide), true)
  }
  return result
}

const scratch = new DataView(new ArrayBuffer(4))

/** float32 bits of the value of a float16 bit pattern (IEEE 754, binary16). */
function widenHalf(pattern: number): number {
  const sign = pattern >>> 15 === 1 ? -1 : 1
  const exponent = (pattern >>> 10) & 31
  const mantissa = pattern & 1023
  // A NaN keeps its sign and its payload, and becomes quiet (6.2.3).
  if (exponent === 31) return (sign < 0 ? 0x8000_0000 : 0) + 0x7f80_0000 + (mantissa === 0 ? 0 : 512 + (mantissa % 512)) * 0x2000
  const value = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25)
  scratch.setFloat32(0, sign * value)
  return scratch.getUint32(0)
}

/** The float16 bit pattern nearest to the float32 with these bits, ties to even (IEEE 754, 4.3.1). */
function narrowToHalf(bits: number): number {
  scratch.setUint32(0, bits)
  const value = scratch.getFloat32(0)
  const sign = bits >= 0x8000_0000 ? 0x8000 : 0
  // A NaN becomes quiet and keeps the upper bits of its payload, as in processors.
  if (Number.isNaN(value)) return sign | 0x7e00 | ((bits >>> 13) & 0x1ff)
  const size = Math.abs(value)
  // 65,520 is halfway between the largest float16 and the next power of two, so it is rounded to infinity.
  if (size >= 65_520) return sign | 0x7c00
  const exponent = Math.max(((bits >>> 23) & 255) - 127, -14)
  const steps = size / 2 ** (exponent - 10)
  const below = Math.floor(steps)
  const rest = steps - below
  const nearest = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below
  return sign | ((exponent + 14) * 1024 + nearest)
}
