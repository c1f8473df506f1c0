/**
 * Fused LoRAs: adds the changes of LoRAs to a layer's weight or bias, as peft's `merge` does. A weight table has the resulting tensor in
 * place of the checkpoint's. Its bytes are computed when they are read. If all changes are products B·A without a magnitude, a GPU adds
 * them itself (runtime/webgpu/lora-upload.ts).
 */

import type { ByteRange, ByteSource, ReadOptions } from '../../hub/types.js'
import type { AdapterForm, KroneckerFactor } from '../../onnx/types.js'
import { elementCount } from '../../util/element-count.js'
import { bytesOf, readFloats } from '../element-types.js'
import type { LoraProduct, TensorEntry } from '../types.js'

/** The change that a LoRA makes to one layer. */
export interface LayerChange {
  readonly form: AdapterForm
  /** The tensors of the branch by their peft or LyCORIS name, such as `lora_A`. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  /** What the change is multiplied by. */
  readonly scale: number
}

/** A layer's weight [out, …] with the changes applied in their order. `name` is that of the new tensor. */
export function fusedWeight(base: TensorEntry, changes: readonly LayerChange[], name: string): TensorEntry {
  const products = changes.flatMap(productOf)
  const entry = changedTensor(base, name, (options) => Promise.all(changes.map((change) => weightChange(change, base, options))))
  return products.length === changes.length ? { ...entry, fused: { base, products } } : entry
}

/** A layer's bias [out] plus the scaled LoRA biases (`lora_B_bias`) of its branches. */
export function fusedBias(base: TensorEntry, changes: readonly LayerChange[], name: string): TensorEntry {
  const parts = changes.flatMap(({ tensors, scale }) => {
    const bias = tensors.get('lora_B_bias')
    return bias === undefined ? [] : [{ bias, scale }]
  })
  return changedTensor(base, name, (options) =>
    Promise.all(
      parts.map(async ({ bias, scale }): Promise<RowChange> => {
        const added = await readFloats(bias, options)
        return (values, row) => {
          values[0] = at(values, 0) + scale * at(added, row)
        }
      }),
    ),
  )
}

/** Changes the values of a row of a weight. `own`: the values that the checkpoint has. */
type RowChange = (values: Float32Array, row: number, own: Float32Array) => void

/** An element at an index that is known to be in range. */
function at(values: Float32Array | Float64Array, index: number): number {
  return values[index] as number
}

function changedTensor(
  { shape, ...base }: TensorEntry,
  name: string,
  open: (options: ReadOptions) => Promise<readonly RowChange[]>,
): TensorEntry {
  const source = new FusedSource({ shape, ...base }, open)
  // float32, so that a value is rounded once, to the type of the graph.
  return { name, dtype: 'F32', shape, source, begin: 0, end: source.byteLength }
}

/** One tensor with changes, in float32. */
class FusedSource implements ByteSource {
  readonly byteLength: number
  readonly #base: TensorEntry
  readonly #columns: number
  readonly #open: (options: ReadOptions) => Promise<readonly RowChange[]>
  /** The changes with their factors in memory: kept from the first read until the last bytes were read. */
  #changes: Promise<readonly RowChange[]> | undefined

  constructor(base: TensorEntry, open: (options: ReadOptions) => Promise<readonly RowChange[]>) {
    this.#base = base
    this.#columns = elementCount(base.shape.slice(1))
    this.#open = open
    this.byteLength = 4 * elementCount(base.shape)
  }

  async arrived(range: ByteRange, options?: ReadOptions): Promise<void> {
    const { rows } = this.#rowsOf(range)
    await this.#base.source.arrived?.(rows, options)
  }

  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const changes = await this.#opened(range, options)
    const { firstRow, rows } = this.#rowsOf(range)
    const values = await readFloats({ ...this.#base, ...rows }, options)
    const columns = this.#columns
    for (let row = 0; row * columns < values.length; row++) {
      const own = values.slice(row * columns, (row + 1) * columns)
      const changed = values.subarray(row * columns, (row + 1) * columns)
      for (const change of changes) change(changed, firstRow + row, own)
    }
    const begin = range.begin - 4 * firstRow * columns
    return bytesOf(values).slice(begin, begin + range.end - range.begin)
  }

  async #opened({ end }: ByteRange, options: ReadOptions): Promise<readonly RowChange[]> {
    const changes = this.#changes ?? this.#open(options)
    this.#changes = end < this.byteLength ? changes : undefined
    try {
      return await changes
    } catch (error) {
      if (this.#changes === changes) this.#changes = undefined
      throw error
    }
  }

  /** The rows that contain a range of the result's bytes: the index of the first one, and the byte range of all of them in the file. */
  #rowsOf(range: ByteRange): { readonly firstRow: number; readonly rows: ByteRange } {
    const { begin, end, shape } = this.#base
    const rowBytes = 4 * this.#columns
    const stored = (end - begin) / Math.max(1, shape[0] ?? 1)
    const firstRow = Math.floor(range.begin / rowBytes)
    const lastRow = Math.ceil(range.end / rowBytes)
    return { firstRow, rows: { begin: begin + firstRow * stored, end: begin + lastRow * stored } }
  }
}

function productOf({ form, tensors, scale }: LayerChange): readonly LoraProduct[] {
  if (form.kind !== 'low-rank' || form.magnitude !== undefined) return []
  return [{ a: tensorOf(tensors, 'lora_A'), b: tensorOf(tensors, 'lora_B'), rank: form.rank, scale }]
}

function tensorOf(tensors: LayerChange['tensors'], part: string): TensorEntry {
  const found = tensors.get(part)
  if (found === undefined) throw new TypeError(`A LoRA has no tensor ${part}.`)
  return found
}

/** How a change of a layer changes the rows of its weight. */
async function weightChange({ form, tensors, scale }: LayerChange, base: TensorEntry, options: ReadOptions): Promise<RowChange> {
  const columns = elementCount(base.shape.slice(1))
  const read = (part: string) => readFloats(tensorOf(tensors, part), options)
  if (form.kind === 'hadamard') {
    const { rank } = form
    const [a1, b1, a2, b2] = await Promise.all(['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'].map(read))
    const [first, second] = [product(a1, b1, rank, columns), product(a2, b2, rank, columns)]
    return (values, row) => {
      const [left, right] = [first(row), second(row)]
      for (let column = 0; column < columns; column++)
        values[column] = at(values, column) + scale * at(left, column) * at(right, column)
    }
  }
  if (form.kind === 'kronecker') {
    const [left, right] = await Promise.all([
      kroneckerFactor(form.left, 'lokr_w1', read),
      kroneckerFactor(form.right, 'lokr_w2', read),
    ])
    return (values, row) => {
      const whole = form.firstRow + row
      const own = right.subarray((whole % form.right.rows) * form.right.columns)
      const leftRow = Math.floor(whole / form.right.rows) * form.left.columns
      for (let part = 0; part < form.left.columns; part++) {
        const factor = scale * at(left, leftRow + part)
        const first = part * form.right.columns
        for (let column = 0; column < form.right.columns; column++)
          values[first + column] = at(values, first + column) + factor * at(own, column)
      }
    }
  }
  const [b, a] = await Promise.all([read('lora_B'), read('lora_A')])
  const change = product(b, a, form.rank, columns)
  const lengths = form.magnitude === 'stored' ? await read('lora_magnitude_vector') : undefined
  return (values, row, own) => {
    const added = change(row)
    for (let column = 0; column < columns; column++) values[column] = at(values, column) + scale * at(added, column)
    if (form.magnitude === undefined) return
    const ratio = (lengths === undefined ? lengthOf(own) : at(lengths, row)) / lengthOf(values)
    for (let column = 0; column < columns; column++) values[column] = at(values, column) * ratio
  }
}

function lengthOf(values: Float32Array): number {
  let sum = 0
  for (const value of values) sum += value * value
  return Math.sqrt(sum)
}

/** Returns rows of left · right: left is [rows, rank], right is [rank, columns]. Each row is valid until the next one is computed. */
function product(
  left = new Float32Array(),
  right = new Float32Array(),
  rank: number,
  columns: number,
): (row: number) => Float64Array {
  const sums = new Float64Array(columns)
  return (row) => {
    sums.fill(0)
    let index = 0
    // Four rows of `right` at a time: the sums are read and written less often.
    for (; index + 4 <= rank; index += 4) {
      const first = row * rank + index
      const [l0, l1, l2, l3] = [at(left, first), at(left, first + 1), at(left, first + 2), at(left, first + 3)]
      const r0 = index * columns
      const [r1, r2, r3] = [r0 + columns, r0 + 2 * columns, r0 + 3 * columns]
      for (let column = 0; column < columns; column++)
        sums[column] =
          at(sums, column) +
          l0 * at(right, r0 + column) +
          l1 * at(right, r1 + column) +
          l2 * at(right, r2 + column) +
          l3 * at(right, r3 + column)
    }
    for (; index < rank; index++) {
      const factor = at(left, row * rank + index)
      for (let column = 0; column < columns; column++)
        sums[column] = at(sums, column) + factor * at(right, index * columns + column)
    }
    return sums
  }
}

/** Reads a matrix of a Kronecker product, or multiplies its two factors. */
async function kroneckerFactor(
  { rows, columns, rank }: KroneckerFactor,
  name: string,
  read: (part: string) => Promise<Float32Array<ArrayBuffer>>,
): Promise<Float32Array> {
  if (rank === undefined) return read(name)
  const [a, b] = await Promise.all([read(`${name}_a`), read(`${name}_b`)])
  const row = product(a, b, rank, columns)
  const whole = new Float32Array(rows * columns)
  for (let index = 0; index < rows; index++) whole.set(row(index), index * columns)
  return whole
}
