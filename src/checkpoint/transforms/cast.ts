/** The cast transform: floating-point tensors in another element type. */

import type { ByteRange, ByteSource, ReadOptions } from '../../hub/types.js'
import { dtypeBytes } from '../../util/dtype-bytes.js'
import { freeBytes } from '../../util/free-bytes.js'
import {
  bytesOf,
  countOverflows,
  decodeFloats,
  encodeFloats,
  isFloatDType,
  type FloatDType,
  type TargetDType,
} from '../element-types.js'
import type { TensorEntry, WeightTable } from '../types.js'
import { checkTensorRange, copyOverlap, pieceElements } from './pieces.js'
import type { WeightTransform } from './transform-table.js'

/** Called with the number of finite values of a tensor that became infinite in float16, once for each piece that has some. */
export type OnOverflow = (name: string, count: number) => void

/**
 * Casts every floating-point tensor to `to`, rounding to nearest even. The scales of quantized weights stay float16, which the kernels
 * expect, and integers stay as they are.
 */
export function castWeights(to: TargetDType, onOverflow?: OnOverflow): WeightTransform {
  return {
    description: { name: 'cast', to },
    apply: (table) =>
      new Map([...table].map(([name, entry]) => [name, isScale(name, table) ? entry : castEntry(entry, to, onOverflow)])),
  }
}

function isScale(name: string, table: WeightTable): boolean {
  return name.endsWith('.weight_scale') && table.get(name.slice(0, -'_scale'.length))?.dtype === 'U8'
}

function castEntry(entry: TensorEntry, to: TargetDType, onOverflow: OnOverflow | undefined): TensorEntry {
  if (!isFloatDType(entry.dtype) || entry.dtype === to) return entry
  const source = new CastSource(entry, entry.dtype, to, onOverflow)
  return { name: entry.name, dtype: to, shape: entry.shape, source, begin: 0, end: source.byteLength }
}

/** One tensor of a table in another floating-point type. */
class CastSource implements ByteSource {
  readonly byteLength: number
  readonly #entry: TensorEntry
  readonly #from: FloatDType
  readonly #to: TargetDType
  readonly #onOverflow: OnOverflow | undefined

  constructor(entry: TensorEntry, from: FloatDType, to: TargetDType, onOverflow: OnOverflow | undefined) {
    this.#entry = entry
    this.#from = from
    this.#to = to
    this.#onOverflow = onOverflow
    this.byteLength = ((entry.end - entry.begin) / dtypeBytes[from]) * dtypeBytes[to]
  }

  async arrived(range: ByteRange, options?: ReadOptions): Promise<void> {
    const { source, begin } = this.#entry
    const [fromBytes, toBytes] = [dtypeBytes[this.#from], dtypeBytes[this.#to]]
    const first = begin + Math.floor(range.begin / toBytes) * fromBytes
    await source.arrived?.({ begin: first, end: begin + Math.ceil(range.end / toBytes) * fromBytes }, options)
  }

  async read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    checkTensorRange(range, this.byteLength)
    const { source, begin, name } = this.#entry
    const [fromBytes, toBytes] = [dtypeBytes[this.#from], dtypeBytes[this.#to]]
    const result = new Uint8Array(range.end - range.begin)
    const last = Math.ceil(range.end / toBytes)
    for (let first = Math.floor(range.begin / toBytes); first < last; first += pieceElements) {
      const end = Math.min(first + pieceElements, last)
      const raw = await source.read({ begin: begin + first * fromBytes, end: begin + end * fromBytes }, options)
      const values = decodeFloats(raw, this.#from)
      const bytes = encodeFloats(values, this.#to)
      if (this.#to === 'F16' && this.#onOverflow !== undefined) {
        const count = countOverflows(values, bytes)
        if (count > 0) this.#onOverflow(name, count)
      }
      copyOverlap(result, range.begin, bytes, first * toBytes)
      // Decoding or encoding float32 returns a view of its input; freeBytes accepts the same memory twice.
      freeBytes(bytes, bytesOf(values), raw)
    }
    return result
  }
}
