/**
 * A Linear weight of a checkpoint as the tensors that quantising makes of it, each a byte source that reads rows of the weight,
 * quantises them and gives the bytes asked for. The arithmetic and the layout are quantize.ts's.
 */

import type { ByteRange, ByteSource, ReadOptions } from '../hub/types.js'
import { bytesOf, decodeFloats, isFloatDType } from './convert-floats.js'
import { checkRange, copyOverlap, pieceElements } from './convert-pieces.js'
import { quantizeRows, type QuantizedLayout } from './quantize.js'
import { dtypeBytes } from './safetensors.js'
import type { TensorEntry } from './types.js'

/** Scales longer than this are computed again instead of kept. */
const maxKeptBytes = 16 << 20

/**
 * Keeps the scales of the one weight whose codes are being read from the front, so that reading its scales next does not read the
 * weight again. One for a table: memory does not grow with it.
 */
export class ScaleMemory {
  #owner: QuantizedTensor | null = null
  #scales = new Uint8Array()
  #zeroPoints = new Uint8Array()
  #rows = 0

  /** Notes rows that were just quantised. They count only if all rows before them were noted too. */
  keep(owner: QuantizedTensor, row: number, scales: Uint8Array, zeroPoints: Uint8Array): void {
    const { rows, scaleBytes, zeroPointBytes } = owner.layout
    if (this.#owner !== owner) {
      if (row !== 0 || rows * (scaleBytes + zeroPointBytes) > maxKeptBytes) return
      this.#owner = owner
      this.#scales = new Uint8Array(rows * scaleBytes)
      this.#zeroPoints = new Uint8Array(rows * zeroPointBytes)
      this.#rows = 0
    }
    if (row > this.#rows) return
    this.#scales.set(scales, row * scaleBytes)
    this.#zeroPoints.set(zeroPoints, row * zeroPointBytes)
    this.#rows = Math.max(this.#rows, row + scales.byteLength / scaleBytes)
  }

  /** Bytes of the owner's scales or zero points, or null where they are not all here. */
  find(owner: QuantizedTensor, part: 'scales' | 'zeroPoints', range: ByteRange): Uint8Array<ArrayBuffer> | null {
    if (this.#owner !== owner || this.#rows < owner.layout.rows) return null
    return (part === 'scales' ? this.#scales : this.#zeroPoints).slice(range.begin, range.end)
  }
}

/** A weight on its way to codes, scales and zero points. */
export class QuantizedTensor {
  readonly layout: QuantizedLayout
  readonly codes: ByteSource
  readonly scales: ByteSource
  readonly zeroPoints: ByteSource
  readonly #entry: TensorEntry
  readonly #memory: ScaleMemory

  constructor(entry: TensorEntry, layout: QuantizedLayout, memory: ScaleMemory) {
    this.#entry = entry
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
      read: async (range, options) => {
        checkRange(range, byteLength)
        if (part !== 'codes') {
          const kept = this.#memory.find(this, part, range)
          if (kept !== null) return kept
        }
        const result = new Uint8Array(range.end - range.begin)
        if (result.byteLength === 0) return result
        const last = Math.ceil(range.end / rowBytes)
        const step = Math.max(1, Math.floor(pieceElements / this.layout.columns))
        for (let row = Math.floor(range.begin / rowBytes); row < last; row += step) {
          const rows = await this.#quantize(row, Math.min(row + step, last), options)
          if (part === 'codes') this.#memory.keep(this, row, rows.scales, rows.zeroPoints)
          copyOverlap(result, range.begin, rows[part], row * rowBytes)
        }
        return result
      },
    }
  }

  async #quantize(first: number, last: number, options: ReadOptions | undefined) {
    const { name, source, dtype, begin } = this.#entry
    if (!isFloatDType(dtype)) throw new TypeError(`${name} is ${dtype}`)
    const rowBytes = this.layout.columns * dtypeBytes[dtype]
    const raw = await source.read({ begin: begin + first * rowBytes, end: begin + last * rowBytes }, options)
    const rows = quantizeRows(decodeFloats(raw, dtype), this.layout, name)
    return { codes: rows.codes, scales: bytesOf(rows.scales), zeroPoints: rows.zeroPoints }
  }
}
