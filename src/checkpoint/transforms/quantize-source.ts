/**
 * The tensors that a quantized Linear weight consists of. Each is a byte source that reads rows of the original weight, quantizes them and
 * returns the requested bytes. quantize-rows.ts has the arithmetic and the layout.
 */

import type { ByteRange, ByteSource, ReadOptions } from '../../hub/types.js'
import { freeBytes } from '../../util/free-bytes.js'
import { checkTensorRange, copyOverlap, pieceElements } from './pieces.js'
import { quantizeRows, type QuantizedLayout, type QuantizedRows } from './quantize-rows.js'
import { dtypeBytes } from '../../util/dtype-bytes.js'
import type { TensorEntry } from '../types.js'
import { bytesOf, decodeFloats, isFloatDType } from '../element-types.js'

interface Kept {
  readonly scales: Uint8Array<ArrayBuffer>
  readonly zeroPoints: Uint8Array<ArrayBuffer>
  /** The number of rows, from the first, that are kept. */
  rows: number
}

/**
 * Keeps the scales of the weights whose codes were read last, so that reading the scales next does not read the weight again. Each table has
 * one such memory, of bounded size.
 */
export class ScaleMemory {
  /** The scales and zero points that are kept, by weight, in the order in which the first rows were quantized. */
  readonly #kept = new Map<QuantizedTensor, Kept>()
  readonly #most: number
  #bytes = 0

  /** @param most the most bytes to keep */
  constructor(most = 16 << 20) {
    this.#most = most
  }

  /** Keeps rows that were just quantized, if all rows before them are kept too. */
  keep(owner: QuantizedTensor, row: number, scales: Uint8Array, zeroPoints: Uint8Array): void {
    const { rows, scaleBytes, zeroPointBytes } = owner.layout
    let kept = this.#kept.get(owner)
    if (kept === undefined) {
      const bytes = rows * (scaleBytes + zeroPointBytes)
      if (row !== 0 || bytes > this.#most) return
      for (const [oldest, { scales, zeroPoints }] of this.#kept) {
        if (this.#bytes + bytes <= this.#most) break
        this.#kept.delete(oldest)
        this.#bytes -= scales.byteLength + zeroPoints.byteLength
      }
      kept = { scales: new Uint8Array(rows * scaleBytes), zeroPoints: new Uint8Array(rows * zeroPointBytes), rows: 0 }
      this.#kept.set(owner, kept)
      this.#bytes += bytes
    }
    if (row > kept.rows) return
    kept.scales.set(scales, row * scaleBytes)
    kept.zeroPoints.set(zeroPoints, row * zeroPointBytes)
    kept.rows = Math.max(kept.rows, row + scales.byteLength / scaleBytes)
  }

  /** Bytes of the owner's scales or zero points, or null if they are not all kept. */
  find(owner: QuantizedTensor, part: 'scales' | 'zeroPoints', range: ByteRange): Uint8Array<ArrayBuffer> | null {
    const kept = this.#kept.get(owner)
    return kept === undefined || kept.rows < owner.layout.rows ? null : kept[part].slice(range.begin, range.end)
  }
}

/** Receives rows of weights when they have been quantized. */
export type OnRows = (weights: Float32Array, rows: QuantizedRows, layout: QuantizedLayout) => void

/** The codes, scales and zero points of one weight. */
export class QuantizedTensor {
  readonly layout: QuantizedLayout
  readonly codes: ByteSource
  readonly scales: ByteSource
  readonly zeroPoints: ByteSource
  readonly #entry: TensorEntry
  readonly #memory: ScaleMemory
  readonly #onRows: OnRows | undefined
  /** Reads run one after the other: scales are often requested while the codes are still being computed. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(entry: TensorEntry, layout: QuantizedLayout, memory: ScaleMemory, onRows?: OnRows) {
    this.#entry = entry
    this.#onRows = onRows
    this.layout = layout
    this.#memory = memory
    this.codes = this.#part('codes', layout.codeBytes)
    this.scales = this.#part('scales', layout.scaleBytes)
    this.zeroPoints = this.#part('zeroPoints', layout.zeroPointBytes)
  }

  #part(part: 'codes' | 'scales' | 'zeroPoints', rowBytes: number): ByteSource {
    const byteLength = this.layout.rows * rowBytes
    return {
      byteLength,
      arrived: async (range, options) => {
        const rows = { first: Math.floor(range.begin / rowBytes), last: Math.ceil(range.end / rowBytes) }
        await this.#entry.source.arrived?.(this.#rawRange(rows.first, rows.last), options)
      },
      read: (range, options) => {
        const before = this.#last
        const read = (async () => {
          checkTensorRange(range, byteLength)
          await before
          return this.#read(part, rowBytes, range, options)
        })()
        // The caller of this read handles its error.
        this.#last = read.catch(() => {})
        return read
      },
    }
  }

  async #read(
    part: 'codes' | 'scales' | 'zeroPoints',
    rowBytes: number,
    range: ByteRange,
    options: ReadOptions | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const kept = part === 'codes' ? null : this.#memory.find(this, part, range)
    if (kept !== null) return kept
    const result = new Uint8Array(range.end - range.begin)
    if (result.byteLength === 0) return result
    const last = Math.ceil(range.end / rowBytes)
    const step = Math.max(1, Math.floor(pieceElements / this.layout.columns))
    for (let row = Math.floor(range.begin / rowBytes); row < last; row += step) {
      const rows = await this.#quantize(row, Math.min(row + step, last), options)
      if (part === 'codes') this.#memory.keep(this, row, rows.scales, rows.zeroPoints)
      copyOverlap(result, range.begin, rows[part], row * rowBytes)
      freeBytes(rows.codes)
    }
    return result
  }

  /** The byte range of the weight's rows `first` to `last` (exclusive) in the weight's file. */
  #rawRange(first: number, last: number): ByteRange {
    const rowBytes = this.layout.columns * dtypeBytes[this.#entry.dtype]
    return { begin: this.#entry.begin + first * rowBytes, end: this.#entry.begin + last * rowBytes }
  }

  async #quantize(first: number, last: number, options: ReadOptions | undefined) {
    const { name, source, dtype } = this.#entry
    if (!isFloatDType(dtype)) throw new TypeError(`${name} is ${dtype}`)
    const raw = await source.read(this.#rawRange(first, last), options)
    const values = decodeFloats(raw, dtype)
    const rows = quantizeRows(values, this.layout, name)
    this.#onRows?.(values, rows, this.layout)
    // Decoded float32 is a view of `raw`; freeBytes accepts the same memory twice.
    freeBytes(bytesOf(values), raw)
    return { codes: rows.codes, scales: bytesOf(rows.scales), zeroPoints: rows.zeroPoints }
  }
}
