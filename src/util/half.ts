/**
 * Conversions between float32 and the small floating-point formats that checkpoints hold: IEEE binary16 (float16), bfloat16 and the two
 * 8-bit formats of OCP (E4M3FN, E5M2). Values of these formats are passed as their bit patterns. Widening is exact; narrowing rounds to
 * nearest, ties to even, and overflows to infinity, as torch and numpy do. The functions work on arrays, not on tensors.
 */

/** Builds a table of float32 bits. */
function tableOf(size: number, bitsOf: (pattern: number) => number): Uint32Array {
  const bits = new Uint32Array(size)
  for (let pattern = 0; pattern < size; pattern++) bits[pattern] = bitsOf(pattern)
  return bits
}

/** float32 bits of a value given as sign, exponent field and mantissa field of a small format with IEEE subnormals. */
function widenBits(sign: number, exponent: number, mantissa: number, mantissaBits: number, bias: number): number {
  const high = sign * 0x8000_0000
  if (exponent === 0) {
    if (mantissa === 0) return high
    // A subnormal is mantissa · 2^(1 − bias − mantissaBits): shift its leading one up to the position of the implicit bit.
    const lead = 31 - Math.clz32(mantissa)
    const fraction = (mantissa << (23 - lead)) & 0x7f_ffff
    return high + (lead - mantissaBits + 1 - bias + 127) * 0x80_0000 + fraction
  }
  return high + (exponent - bias + 127) * 0x80_0000 + mantissa * 2 ** (23 - mantissaBits)
}

function halfBits(pattern: number): number {
  const sign = pattern >>> 15
  const exponent = (pattern >>> 10) & 0x1f
  const mantissa = pattern & 0x3ff
  // A NaN becomes quiet and keeps its payload, as when a processor converts it.
  if (exponent === 0x1f) return sign * 0x8000_0000 + 0x7f80_0000 + ((mantissa * 0x2000) | (mantissa === 0 ? 0 : 0x40_0000))
  return widenBits(sign, exponent, mantissa, 10, 15)
}

function e4m3Bits(pattern: number): number {
  const sign = pattern >>> 7
  // E4M3FN has no infinity: all ones is NaN, and the other patterns of the highest exponent are numbers up to 448.
  if ((pattern & 0x7f) === 0x7f) return sign * 0x8000_0000 + 0x7fc0_0000
  return widenBits(sign, (pattern >>> 3) & 0xf, pattern & 7, 3, 7)
}

let halfTable: Uint32Array | undefined
let e4m3Table: Uint32Array | undefined
let e5m2Table: Uint32Array | undefined

/** Copies bits instead of numbers, because a JavaScript engine may change the payload of a NaN that it handles as a number. */
function lookUp(table: Uint32Array, source: Uint8Array | Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(source.length)
  for (let i = 0; i < source.length; i++) bits[i] = table[source[i] as number] as number
  return new Float32Array(bits.buffer)
}

/** float16 bit patterns → float32, exact. */
export function float16ToFloat32(source: Uint16Array): Float32Array<ArrayBuffer> {
  halfTable ??= tableOf(0x1_0000, halfBits)
  return lookUp(halfTable, source)
}

/** bfloat16 bit patterns → float32, exact. */
export function bfloat16ToFloat32(source: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(source.length)
  for (let i = 0; i < source.length; i++) bits[i] = (source[i] as number) << 16
  return new Float32Array(bits.buffer)
}

/** Float8 E4M3FN bit patterns → float32, exact. Source: OCP 8-bit floating point specification, torch.float8_e4m3fn. */
export function float8E4M3ToFloat32(source: Uint8Array): Float32Array<ArrayBuffer> {
  e4m3Table ??= tableOf(0x100, e4m3Bits)
  return lookUp(e4m3Table, source)
}

/** Float8 E5M2 bit patterns → float32, exact: E5M2 is the upper byte of a float16. */
export function float8E5M2ToFloat32(source: Uint8Array): Float32Array<ArrayBuffer> {
  e5m2Table ??= tableOf(0x100, (pattern) => halfBits(pattern << 8))
  return lookUp(e5m2Table, source)
}

/** For each sign and exponent of a float32: the float16 without its mantissa, and by how many places the mantissa is shifted right. */
let narrowBase: Uint16Array | undefined
let narrowShift: Uint8Array | undefined

function buildNarrowTables(): void {
  narrowBase = new Uint16Array(512)
  narrowShift = new Uint8Array(512)
  for (let index = 0; index < 512; index++) {
    const sign = (index >>> 8) << 15
    const exponent = (index & 0xff) - 127
    // A shift by 25 leaves nothing of a 24-bit significand, not even a half to round up.
    let [base, shift] = [sign, 25]
    if (exponent >= 16) [base, shift] = [sign | 0x7c00, 25]
    else if (exponent >= -14) [base, shift] = [sign | ((exponent + 14) << 10), 13]
    else if (exponent >= -25) [base, shift] = [sign, -exponent - 1]
    narrowBase[index] = base
    narrowShift[index] = shift
  }
}

/** float32 → float16 bit patterns, rounded to nearest even; infinity from 65,520 on; NaN stays NaN. */
export function float32ToFloat16(source: Float32Array): Uint16Array<ArrayBuffer> {
  if (narrowBase === undefined || narrowShift === undefined) buildNarrowTables()
  const base = narrowBase as Uint16Array
  const shift = narrowShift as Uint8Array
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length)
  const result = new Uint16Array(source.length)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] as number
    if ((value & 0x7fff_ffff) > 0x7f80_0000) {
      result[i] = ((value >>> 16) & 0x8000) | 0x7e00 | ((value >>> 13) & 0x1ff)
      continue
    }
    const index = value >>> 23
    const places = shift[index] as number
    // The significand includes the implicit bit: for normal numbers it adds the 1 that the table subtracted from the exponent.
    const significand = (value & 0x7f_ffff) | 0x80_0000
    const rest = significand & ((1 << places) - 1)
    const half = 1 << (places - 1)
    let rounded = (base[index] as number) + (significand >>> places)
    if (rest > half || (rest === half && (rounded & 1) === 1)) rounded++
    result[i] = rounded
  }
  return result
}
