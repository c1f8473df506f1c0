/**
 * The block types of GGUF files: how many weights share a block, how many bytes a block has, and what the bytes mean. A pure function per type.
 * Source: the structs and `dequantize_row_*` of https://github.com/ggml-org/ggml `ggml-quants.c`; little endian.
 */

import { float16ToFloat32 } from '../util/half.js'

/** A type whose weights are quantized in blocks. */
export interface BlockType {
  readonly name: string
  /** How many weights a block has, and how many bytes it takes. */
  readonly weights: number
  readonly bytes: number
  /** The bits per weight to which Aquatint converts this type: 4 for types of up to 4 bits, otherwise 8. */
  readonly bits: 4 | 8
  /** Writes the weights of the block that begins at `at` to `out`, from index `to` on. */
  readonly decode: (block: Block, out: Float32Array, to: number) => void
}

/** The position of a block's first byte in the bytes of a tensor. */
interface Block {
  readonly bytes: Uint8Array
  readonly at: number
}

const half = new Uint16Array(1)

/** The float16 at an offset of a block. */
function float16({ bytes, at }: Block, offset: number): number {
  half[0] = byte(bytes, at + offset) | (byte(bytes, at + offset + 1) << 8)
  return float16ToFloat32(half)[0] ?? 0
}

/** The byte at a position, which exists because whole blocks are read. */
const byte = (bytes: Uint8Array, at: number): number => bytes[at] as number
const signed = (value: number): number => (value << 24) >> 24

/**
 * Decodes a block of 32 weights with 4-bit codes at offset `codes`, the first 16 weights in the low bits. Each weight is
 * (code − zero) · scale. `high`: the offset of a fifth bit of each code. `least`: the offset of a float16 that is added to each weight.
 */
function nibbles(
  block: Block,
  {
    codes,
    high,
    zero,
    least,
  }: { readonly codes: number; readonly high?: number; readonly zero: number; readonly least?: number },
  out: Float32Array,
  to: number,
): void {
  const { bytes, at } = block
  const scale = float16(block, 0)
  const minimum = least === undefined ? 0 : float16(block, least)
  const fifth = (i: number) => (high === undefined ? 0 : ((byte(bytes, at + high + (i >> 3)) >> (i & 7)) & 1) << 4)
  for (let i = 0; i < 16; i++) {
    const pair = byte(bytes, at + codes + i)
    out[to + i] = ((pair & 15) + fifth(i) - zero) * scale + minimum
    out[to + i + 16] = ((pair >> 4) + fifth(i + 16) - zero) * scale + minimum
  }
}

/** The scale and the minimum of one of 8 groups, 6 bits each. Q4_K and Q5_K pack those of all groups in 12 bytes. */
function scaleAndMinimum(bytes: Uint8Array, at: number, index: number): readonly [number, number] {
  if (index < 4) return [byte(bytes, at + index) & 63, byte(bytes, at + index + 4) & 63]
  const both = byte(bytes, at + index + 4)
  return [(both & 15) | ((byte(bytes, at + index - 4) >> 6) << 4), (both >> 4) | ((byte(bytes, at + index) >> 6) << 4)]
}

/** Q4_K, and with `high` Q5_K: 8 groups of 32 weights, each with a scale and a minimum. */
function superBlock(
  block: Block,
  { codes, high }: { readonly codes: number; readonly high?: number },
  out: Float32Array,
  to: number,
): void {
  const { bytes, at } = block
  const [scale, minimum] = [float16(block, 0), float16(block, 2)]
  for (let group = 0; group < 8; group++) {
    const [own, least] = scaleAndMinimum(bytes, at + 4, group)
    const [factor, offset] = [Math.fround(scale * own), Math.fround(minimum * least)]
    for (let i = 0; i < 32; i++) {
      const pair = byte(bytes, at + codes + (group >> 1) * 32 + i)
      const fifth = high === undefined ? 0 : ((byte(bytes, at + high + i) >> group) & 1) << 4
      out[to + group * 32 + i] = ((group & 1 ? pair >> 4 : pair & 15) + fifth) * factor - offset
    }
  }
}

/** The 2-bit code of weight `i` (0 to 255) of a block in Q2_K and Q3_K. */
function twoBits(bytes: Uint8Array, codes: number, i: number): number {
  return (byte(bytes, codes + (i >> 7) * 32 + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3
}

const blockTypes: Readonly<Record<number, BlockType>> = {
  2: {
    name: 'Q4_0',
    weights: 32,
    bytes: 18,
    bits: 4,
    decode: (block, out, to) => nibbles(block, { codes: 2, zero: 8 }, out, to),
  },
  3: {
    name: 'Q4_1',
    weights: 32,
    bytes: 20,
    bits: 4,
    decode: (block, out, to) => nibbles(block, { codes: 4, zero: 0, least: 2 }, out, to),
  },
  6: {
    name: 'Q5_0',
    weights: 32,
    bytes: 22,
    bits: 8,
    decode: (block, out, to) => nibbles(block, { codes: 6, high: 2, zero: 16 }, out, to),
  },
  7: {
    name: 'Q5_1',
    weights: 32,
    bytes: 24,
    bits: 8,
    decode: (block, out, to) => nibbles(block, { codes: 8, high: 4, zero: 0, least: 2 }, out, to),
  },
  8: {
    name: 'Q8_0',
    weights: 32,
    bytes: 34,
    bits: 8,
    decode: (block, out, to) => {
      const scale = float16(block, 0)
      for (let i = 0; i < 32; i++) out[to + i] = signed(byte(block.bytes, block.at + 2 + i)) * scale
    },
  },
  10: {
    name: 'Q2_K',
    weights: 256,
    bytes: 84,
    bits: 4,
    decode: (block, out, to) => {
      const { bytes, at } = block
      const [scale, minimum] = [float16(block, 80), float16(block, 82)]
      for (let i = 0; i < 256; i++) {
        const both = byte(bytes, at + (i >> 4))
        out[to + i] = twoBits(bytes, at + 16, i) * Math.fround(scale * (both & 15)) - Math.fround(minimum * (both >> 4))
      }
    },
  },
  11: {
    name: 'Q3_K',
    weights: 256,
    bytes: 110,
    bits: 4,
    decode: (block, out, to) => {
      const { bytes, at } = block
      const scale = float16(block, 108)
      for (let i = 0; i < 256; i++) {
        const group = i >> 4
        const low = (byte(bytes, at + 96 + (group & 7)) >> (group < 8 ? 0 : 4)) & 15
        const high = (byte(bytes, at + 104 + (group & 3)) >> (2 * (group >> 2))) & 3
        const third = (byte(bytes, at + (i & 31)) >> (i >> 5)) & 1
        const code = twoBits(bytes, at + 32, i) - (third === 1 ? 0 : 4)
        out[to + i] = code * Math.fround(scale * ((low | (high << 4)) - 32))
      }
    },
  },
  12: {
    name: 'Q4_K',
    weights: 256,
    bytes: 144,
    bits: 4,
    decode: (block, out, to) => superBlock(block, { codes: 16 }, out, to),
  },
  13: {
    name: 'Q5_K',
    weights: 256,
    bytes: 176,
    bits: 8,
    decode: (block, out, to) => superBlock(block, { codes: 48, high: 16 }, out, to),
  },
  14: {
    name: 'Q6_K',
    weights: 256,
    bytes: 210,
    bits: 8,
    decode: (block, out, to) => {
      const { bytes, at } = block
      const scale = float16(block, 208)
      for (let i = 0; i < 256; i++) {
        const [part, quarter, place] = [i >> 7, (i >> 5) & 3, i & 31]
        const pair = byte(bytes, at + part * 64 + (quarter & 1) * 32 + place)
        const low = quarter < 2 ? pair & 15 : pair >> 4
        const high = (byte(bytes, at + 128 + part * 32 + place) >> (2 * quarter)) & 3
        out[to + i] = ((low | (high << 4)) - 32) * Math.fround(scale * signed(byte(bytes, at + 192 + (i >> 4))))
      }
    },
  },
}

/** The block type with this number in GGUF files; undefined if no block type has the number, or Aquatint does not read it. */
export function blockType(number: number): BlockType | undefined {
  return Object.hasOwn(blockTypes, number) ? blockTypes[number] : undefined
}

/** The names of all block types that are read. */
export const blockTypeNames: readonly string[] = Object.values(blockTypes).map(({ name }) => name)
