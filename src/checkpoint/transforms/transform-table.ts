/**
 * Changes of a checkpoint's weights, as a table of tensors whose bytes are made when they are read: cast to another type, quantise.
 * Nothing is read or computed until then, and a read takes its source in pieces, so that memory is bounded whatever a tensor's size.
 * Where the bytes go (a GPU buffer, prepared chunks in the cache, a file) is the reader's business. Reading each tensor once from its
 * beginning to its end, `<x>.weight` before its scales, reads each byte of the source once.
 */

import { CheckpointError } from '../../errors.js'
import type { ByteRange, ByteSource, ReadOptions } from '../../hub/types.js'
import { freeBytes } from '../../util/free-bytes.js'
import { checkRange, copyOverlap, pieceElements } from './pieces.js'
import { isQuantizable, quantizedLayout, type QuantizeOptions } from './quantize-rows.js'
import { QuantizedTensor, ScaleMemory } from './quantize-source.js'
import { dtypeBytes } from '../../util/dtype-bytes.js'
import type { SafetensorsDType, TensorEntry, WeightTable } from '../types.js'
import {
  bytesOf,
  countOverflows,
  decodeFloats,
  encodeFloats,
  isFloatDType,
  type FloatDType,
  type TargetDType,
} from '../element-types.js'

export interface ConvertOptions {
  /** The type of all real numbers that are not quantised; as they are when absent. */
  readonly dtype?: TargetDType | undefined
  /** Quantise the Linear weights, see quantize.ts. */
  readonly quantize?: QuantizeOptions | undefined
  /** Told of finite numbers that became infinite in float16, once a piece. */
  readonly onOverflow?: ((name: string, count: number) => void) | undefined
}

/**
 * The table with its weights changed. Entries that stay as they are keep their source; the others have a source of their own.
 * @throws CheckpointError `quantized-name` where a name that quantisation adds is there already; InputError `quantize-options`
 */
export function convertTable(table: WeightTable, options: ConvertOptions): WeightTable {
  const { dtype, quantize, onOverflow } = options
  const result = new Map<string, TensorEntry>()
  const memory = new ScaleMemory()
  const put = (entry: TensorEntry) => {
    const { name } = entry
    if (result.has(name))
      throw new CheckpointError(
        'quantized-name',
        `The checkpoint has a tensor ${JSON.stringify(name)}, a name that quantising needs.`,
        {
          tensor: name,
        },
      )
    result.set(name, entry)
  }
  const add = (name: string, type: SafetensorsDType, shape: readonly number[], source: ByteSource) =>
    put({ name, dtype: type, shape, source, begin: 0, end: source.byteLength })
  for (const entry of table.values()) {
    if (quantize !== undefined && isQuantizable(entry, quantize)) {
      const layout = quantizedLayout(entry.shape, quantize)
      const { rows, blocksPerRow, codeBytes, zeroPointBytes } = layout
      const tensor = new QuantizedTensor(entry, layout, memory)
      add(entry.name, 'U8', [rows, blocksPerRow, codeBytes / blocksPerRow], tensor.codes)
      add(`${entry.name}_scale`, 'F16', [rows, blocksPerRow], tensor.scales)
      if (layout.zeroPoints) add(`${entry.name}_zero_point`, 'U8', [rows, zeroPointBytes], tensor.zeroPoints)
    } else if (dtype !== undefined && isFloatDType(entry.dtype) && entry.dtype !== dtype) {
      add(entry.name, dtype, entry.shape, new CastSource(entry, entry.dtype, dtype, onOverflow))
    } else put(entry)
  }
  return result
}

/** One tensor of a checkpoint in another type of real numbers. */
class CastSource implements ByteSource {
  readonly byteLength: number
  readonly #entry: TensorEntry
  readonly #from: FloatDType
  readonly #to: TargetDType
  readonly #onOverflow: ConvertOptions['onOverflow']

  constructor(entry: TensorEntry, from: FloatDType, to: TargetDType, onOverflow: ConvertOptions['onOverflow']) {
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
    checkRange(range, this.byteLength)
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
      // Float32 is a view: of what was read, or of what is written.
      freeBytes(bytes, bytesOf(values), raw)
    }
    return result
  }
}
