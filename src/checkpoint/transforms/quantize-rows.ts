/**
 * Blockwise int8 and int4 quantization of Linear weights, in the layout of ONNX Runtime's MatMulNBits: the layout, the choice of tensors and
 * the arithmetic. Pure functions over arrays; quantize-source.ts streams tensors through them.
 *
 * Names and shapes. A Linear weight `<x>.weight` [N, K] becomes
 *   `<x>.weight`             U8  [N, K / blockSize, blockSize · bits / 8]   codes, the lower ones in the lower bits
 *   `<x>.weight_scale`       F16 [N, K / blockSize]
 *   `<x>.weight_zero_point`  U8  [N, ceil(K / blockSize · bits / 8)]        only with `zeroPoints`, packed as the codes are
 * and its value is (code − zero point) · scale; without zero points, the zero point is 2^(bits − 1). A bias does not change. The layout
 * follows from the table: K comes from the config, blockSize = K / shape[1], bits = 8 · shape[2] / blockSize.
 * Source: MatMulNBits in onnxruntime's docs/ContribOperators.md.
 */

import { CheckpointError, InputError } from '../../errors.js'
import { float16ToFloat32, float32ToFloat16 } from '../../util/half.js'
import type { SensitiveWeights, TensorEntry } from '../types.js'
import { leastSquaresScales } from './block-scales.js'

/** The version of the arithmetic, by bits. A change of the arithmetic increases it, so that prepared files of an older version are not used. */
export const quantizeVersions = { 4: 2, 8: 1 } as const

/** How weights are quantized. */
export interface QuantizeOptions {
  readonly bits: 4 | 8
  /** Weights along K that share a scale: 16, 32 (the default), 64 or 128. */
  readonly blockSize?: number | undefined
  /** Whether each block has a zero point: more exact for asymmetric blocks, for `bits` more bits per block. Default false. */
  readonly zeroPoints?: boolean | undefined
  /**
   * Whether the codes are symmetric about their middle: the weight of largest magnitude gets the code 1 or 2^bits − 1, and blocks of Q8_0
   * keep their values. Only without zero points. Default false: the weight of largest magnitude gets the code 0, so the scale can be
   * negative.
   */
  readonly symmetric?: boolean | undefined
  /** Tensors, by their names, that are not quantized, or are quantized to 8 bits. Absent: none. */
  readonly sensitive?: SensitiveWeights | undefined
  /**
   * How a block's scale is chosen in 4 bits without zero points and without `symmetric`: with the least squared error (the default), or by
   * its range. All other scales are chosen by range.
   */
  readonly scales?: 'least squares' | 'range' | undefined
}

/** The layout of one quantized weight. */
export interface QuantizedLayout {
  readonly bits: 4 | 8
  readonly blockSize: number
  readonly zeroPoints: boolean
  readonly symmetric: boolean
  readonly leastSquares: boolean
  /** Rows (out features) and columns (in features) of the Linear weight. */
  readonly rows: number
  readonly columns: number
  readonly blocksPerRow: number
  /** Bytes of one row's codes, scales and zero points. */
  readonly codeBytes: number
  readonly scaleBytes: number
  readonly zeroPointBytes: number
}

/** The longest row that is quantized. A row is the unit of work, so this limit bounds the memory. */
const maxColumns = 1 << 20

/** @throws InputError `quantize-options` */
export function quantizedLayout(shape: readonly number[], options: QuantizeOptions): QuantizedLayout {
  const { bits, blockSize = 32, zeroPoints = false, symmetric = false } = options
  const [rows = 0, columns = 0] = shape
  if ((bits !== 4 && bits !== 8) || ![16, 32, 64, 128].includes(blockSize))
    throw new InputError(
      'quantize-options',
      `bits ${bits} with blockSize ${blockSize}: allowed are bits 4 or 8 and blocks of 16, 32, 64 or 128.`,
      {
        bits,
        blockSize,
      },
    )
  if (shape.length !== 2 || columns === 0 || columns % blockSize !== 0 || columns > maxColumns)
    throw new InputError(
      'quantize-options',
      `A weight [${shape.join(', ')}] has no blocks of ${blockSize} along its second dimension.`,
      {
        shape,
        blockSize,
      },
    )
  const blocksPerRow = columns / blockSize
  return {
    bits,
    blockSize,
    zeroPoints,
    symmetric,
    leastSquares: bits === 4 && !zeroPoints && !symmetric && options.scales !== 'range',
    rows,
    columns,
    blocksPerRow,
    codeBytes: (columns * bits) / 8,
    scaleBytes: blocksPerRow * 2,
    zeroPointBytes: zeroPoints ? Math.ceil((blocksPerRow * bits) / 8) : 0,
  }
}

/** Tables whose rows are looked up. They have two dimensions, as Linear weights have, but nothing multiplies with them. */
const embeddings =
  /(?:^|\.)(?:shared|embed_tokens|token_embedding|position_embedding|word_embeddings|relative_attention_bias|class_embedding)\.weight$/

/** Whether a tensor of a checkpoint is a Linear weight that `options` can quantize, by its name, type and shape. */
export function isQuantizable(entry: Pick<TensorEntry, 'name' | 'dtype' | 'shape'>, options: QuantizeOptions): boolean {
  const { name, dtype, shape } = entry
  const [rows = 0, columns = 0] = shape
  return (
    shape.length === 2 &&
    (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') &&
    name.endsWith('.weight') &&
    !embeddings.test(name) &&
    options.sensitive?.kept?.test(name) !== true &&
    rows > 0 &&
    columns > 0 &&
    columns <= maxColumns &&
    columns % (options.blockSize ?? 32) === 0
  )
}

/** How this tensor is quantized with `options`: in 8 bits if it is one of those that must have them. */
export function optionsFor(name: string, options: QuantizeOptions): QuantizeOptions {
  return options.sensitive?.eightBits?.test(name) === true ? { ...options, bits: 8 } : options
}

/** Quantized rows: `codes`, `scales` (float16 bits) and `zeroPoints` (empty without them) as the layout orders them. */
export interface QuantizedRows {
  readonly codes: Uint8Array<ArrayBuffer>
  readonly scales: Uint16Array<ArrayBuffer>
  readonly zeroPoints: Uint8Array<ArrayBuffer>
}

/**
 * Quantizes whole rows. Without zero points and without `symmetric`, a block's scale maps its weight of largest magnitude to the lowest
 * code, so all 2^bits codes can be used and a scale can be negative. With `leastSquares`, the block gets another scale if that makes the
 * squared error of its weights smaller (block-scales.ts). With zero points, the block's range, extended to include zero, is spread over the
 * codes. Scales are rounded to float16 first and the codes are computed with the rounded scales, so the codes allow for this rounding.
 * @throws CheckpointError `weight-not-finite`, `weight-too-large`
 */
export function quantizeRows(weights: Float32Array, layout: QuantizedLayout, name: string): QuantizedRows {
  const { bits, blockSize, zeroPoints, symmetric } = layout
  const rows = weights.length / layout.columns
  const half = 1 << (bits - 1)
  const exact = new Float32Array(rows * layout.blocksPerRow)
  const lowest = zeroPoints ? new Float32Array(exact.length) : null
  for (let block = 0, at = 0; block < exact.length; block++) {
    let min = 0
    let max = 0
    let sum = 0
    for (const end = at + blockSize; at < end; at++) {
      const weight = weights[at] as number
      sum += weight
      if (weight < min) min = weight
      else if (weight > max) max = weight
    }
    // The float64 sum of a block with a NaN or an infinity is not finite.
    if (!Number.isFinite(sum))
      throw new CheckpointError(
        'weight-not-finite',
        `Tensor ${JSON.stringify(name)} holds a value that is not finite: it cannot be quantized.`,
        {
          tensor: name,
        },
      )
    if (lowest === null) exact[block] = symmetric ? Math.max(-min, max) / (half - 1) : (-min > max ? min : max) / -half
    else {
      exact[block] = (max - min) / (2 * half - 1)
      lowest[block] = min
    }
  }
  const byRange = float32ToFloat16(exact)
  const scales = layout.leastSquares ? leastSquaresScales(weights, byRange) : byRange
  const rounded = float16ToFloat32(scales)
  const codes = new Uint8Array(rows * layout.codeBytes)
  const points = new Uint8Array(rows * layout.zeroPointBytes)
  for (let block = 0; block < rounded.length; block++) {
    const scale = rounded[block] as number
    if (!Number.isFinite(scale))
      throw new CheckpointError(
        'weight-too-large',
        `Tensor ${JSON.stringify(name)} holds a weight of ${(exact[block] as number) * half}: its scale does not fit float16.`,
        {
          tensor: name,
        },
      )
    let zero = half
    if (lowest !== null) {
      // Each row's zero points start at a new byte, so the last byte of a row may be half used.
      zero = scale === 0 ? 0 : Math.min(2 * half - 1, Math.round(-(lowest[block] as number) / scale))
      const inRow = block % layout.blocksPerRow
      const byte = ((block - inRow) / layout.blocksPerRow) * layout.zeroPointBytes
      if (bits === 8) points[byte + inRow] = zero
      else points[byte + (inRow >> 1)] = (points[byte + (inRow >> 1)] as number) | (zero << (4 * (inRow & 1)))
    }
    if (bits === 8) encodeBytes(weights, codes, block * blockSize, blockSize, scale, zero)
    else encodeNibbles(weights, codes, block * blockSize, blockSize, scale, zero)
  }
  return { codes, scales, zeroPoints: points }
}

/** code = ⌊weight / scale + zero point + ½⌋, clamped to 0 … 2^bits − 1. If the scale rounds to 0 in float16, codes are the zero point. */
function encodeBytes(weights: Float32Array, codes: Uint8Array, begin: number, count: number, scale: number, zero: number): void {
  const inverse = scale === 0 ? 0 : 1 / scale
  const shift = zero + 0.5
  for (let i = begin; i < begin + count; i++) {
    // Truncation equals flooring for values that are not clamped to 0, and is several times as fast as Math.round.
    const code = ((weights[i] as number) * inverse + shift) | 0
    codes[i] = code < 0 ? 0 : code > 255 ? 255 : code
  }
}

function encodeNibbles(
  weights: Float32Array,
  codes: Uint8Array,
  begin: number,
  count: number,
  scale: number,
  zero: number,
): void {
  const inverse = scale === 0 ? 0 : 1 / scale
  const shift = zero + 0.5
  for (let i = begin; i < begin + count; i += 2) {
    const low = ((weights[i] as number) * inverse + shift) | 0
    const high = ((weights[i + 1] as number) * inverse + shift) | 0
    codes[i >> 1] = (low < 0 ? 0 : low > 15 ? 15 : low) | ((high < 0 ? 0 : high > 15 ? 15 : high) << 4)
  }
}

/** The weights that quantized rows represent, row by row. */
export function dequantizeRows(quantized: QuantizedRows, layout: QuantizedLayout): Float32Array<ArrayBuffer> {
  const { bits, blockSize, blocksPerRow, zeroPointBytes } = layout
  const scales = float16ToFloat32(quantized.scales)
  const weights = new Float32Array(scales.length * blockSize)
  for (let block = 0; block < scales.length; block++) {
    let zero = 1 << (bits - 1)
    if (layout.zeroPoints) {
      const inRow = block % blocksPerRow
      const byte = ((block - inRow) / blocksPerRow) * zeroPointBytes
      zero =
        bits === 8
          ? (quantized.zeroPoints[byte + inRow] as number)
          : ((quantized.zeroPoints[byte + (inRow >> 1)] as number) >> (4 * (inRow & 1))) & 15
    }
    for (let i = block * blockSize; i < (block + 1) * blockSize; i++) {
      const code = bits === 8 ? (quantized.codes[i] as number) : ((quantized.codes[i >> 1] as number) >> (4 * (i & 1))) & 15
      weights[i] = (code - zero) * (scales[block] as number)
    }
  }
  return weights
}
