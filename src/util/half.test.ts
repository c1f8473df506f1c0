import { describe, expect, test } from 'vitest'
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16, float8E4M3ToFloat32, float8E5M2ToFloat32 } from './half.js'

const allHalves = Uint16Array.from({ length: 65_536 }, (_, i) => i)
const allBytes = Uint8Array.from({ length: 256 }, (_, i) => i)

/** The value of a small float by its definition, in double arithmetic. */
function byDefinition(pattern: number, exponentBits: number, mantissaBits: number, finite: boolean): number {
  const bias = 2 ** (exponentBits - 1) - 1
  const sign = (pattern >>> (exponentBits + mantissaBits)) & 1 ? -1 : 1
  const exponent = (pattern >>> mantissaBits) & (2 ** exponentBits - 1)
  const mantissa = pattern & (2 ** mantissaBits - 1)
  const top = exponent === 2 ** exponentBits - 1
  if (finite && top && mantissa === 2 ** mantissaBits - 1) return Number.NaN
  if (!finite && top) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits)
  return sign * (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias)
}

/** Positions where two arrays differ. 0 and −0 differ, and NaN equals NaN. */
function differences(actual: ArrayLike<number>, expected: (index: number) => number): number[] {
  const found = []
  for (let i = 0; i < actual.length; i++) if (!Object.is(actual[i], expected(i))) found.push(i)
  return found
}

describe('widening', () => {
  test('all 65,536 float16 values', () => {
    expect(differences(float16ToFloat32(allHalves), (i) => byDefinition(i, 5, 10, false))).toEqual([])
  })

  test('all 65,536 bfloat16 values', () => {
    expect(differences(bfloat16ToFloat32(allHalves), (i) => byDefinition(i, 8, 7, false))).toEqual([])
  })

  test('all 256 values of both 8-bit formats', () => {
    expect(differences(float8E4M3ToFloat32(allBytes), (i) => byDefinition(i, 4, 3, true))).toEqual([])
    expect(differences(float8E5M2ToFloat32(allBytes), (i) => byDefinition(i, 5, 2, false))).toEqual([])
    expect(Math.max(...float8E4M3ToFloat32(allBytes).filter((value) => !Number.isNaN(value)))).toBe(448)
  })

  test('a signalling NaN becomes a quiet one with the same bits in every JavaScript engine', () => {
    const widened = float16ToFloat32(Uint16Array.of(0x7c01, 0xfd00, 0x7c00, 0xfc00))
    expect([...new Uint32Array(widened.buffer)]).toEqual([0x7fc0_2000, 0xffe0_0000, 0x7f80_0000, 0xff80_0000])
  })

  test('NaN payloads survive widening and narrowing', () => {
    const nan = Uint16Array.of(0x7e00, 0xfe01, 0x7fff)
    expect(float32ToFloat16(float16ToFloat32(nan))).toEqual(nan)
  })
})

describe('narrowing to float16', () => {
  test('every float16 value survives widening and narrowing', () => {
    const numbers = allHalves.filter((i) => (i & 0x7fff) <= 0x7c00)
    expect(float32ToFloat16(float16ToFloat32(numbers))).toEqual(numbers)
  })

  test('a value between two neighbours is rounded to the nearer one, a tie to the even one', () => {
    const patterns = allHalves.filter((i) => (i & 0x7fff) < 0x7bff)
    const values = float16ToFloat32(patterns)
    const next = float16ToFloat32(patterns.map((i) => i + 1))
    const middle = Float32Array.from(values, (value, i) => (value + (next[i] as number)) / 2)
    expect(differences(float32ToFloat16(middle), (i) => (patterns[i] as number) + ((patterns[i] as number) & 1))).toEqual([])
    const nudge = (towards: Float32Array) =>
      Float32Array.from(middle, (value, i) => value + ((towards[i] as number) - value) * 2 ** -10)
    expect(differences(float32ToFloat16(nudge(values)), (i) => patterns[i] as number)).toEqual([])
    expect(differences(float32ToFloat16(nudge(next)), (i) => (patterns[i] as number) + 1)).toEqual([])
  })

  test('overflow, underflow and signs', () => {
    const source = Float32Array.of(
      65_504,
      65_519.996,
      65_520,
      1e30,
      -Infinity,
      2 ** -24,
      2 ** -25,
      2 ** -25 * 1.001,
      -(2 ** -26),
      1e-40,
      -0,
    )
    const expected = [0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 1, 0, 1, 0x8000, 0, 0x8000]
    expect([...float32ToFloat16(source)]).toEqual(expected)
  })

  test('a view into a larger buffer converts only its own part', () => {
    const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3)
    expect([...float32ToFloat16(view)]).toEqual([0x3c00, 0x4000])
  })
})
