/** Helpers that the tests of this folder share: a small network with equal blocks, and a checkpoint for it in memory. Not part of the library. */

import type { SafetensorsDType, TensorEntry, WeightTable } from '../checkpoint/types.js'
import type { ByteRange, ByteSource, ReadOptions } from '../hub/types.js'
import { ComponentBuilder } from '../onnx/component-builder.js'
import { add, silu } from '../onnx/ops-math.js'
import { gemm } from '../onnx/ops-network.js'
import type { ComponentGraph, WriteOptions, Shapes } from '../onnx/types.js'
import { throwIfAborted } from '../util/abort.js'
import { float32ToFloat16 } from '../util/half.js'
import { elementCount } from '../util/element-count.js'

/** Channels of the input, the blocks and the output. `output` is odd, so that some float16 tensors end between 4-byte units. */
export const towerSizes = { input: 8, hidden: 16, output: 7 } as const

/**
 * Stages `first`, `blocks.0` … `blocks.<n-1>` and `last`: y = last(… x + silu(Linear(x)) …). Input `x` [rows, 8], output `y` [rows, 7].
 * Blocks in `without` are left out.
 */
export function towerGraph(
  blocks: number,
  options: WriteOptions,
  without: readonly number[] = [],
): (shapes: Shapes) => ComponentGraph {
  const { input, hidden, output } = towerSizes
  return (shapes) => {
    const builder = new ComponentBuilder('tower', options)
    const x = builder.input('x', options.dtype, [shapes['x']?.[0] ?? 1, input])
    let { h } = builder.stage('first', { x }, (graph, { x }) => ({ h: gemm(graph, x, graph.weight('weight', [hidden, input])) }))
    for (let block = 0; block < blocks; block++) {
      if (without.includes(block)) continue
      ;({ h } = builder.stage(`blocks.${block}`, { h }, (graph, { h }) => {
        const bias = graph.weight('bias', [hidden])
        return { h: add(graph, h, silu(graph, gemm(graph, h, graph.weight('weight', [hidden, hidden]), bias))) }
      }))
    }
    const { y } = builder.stage('last', { h }, (graph, { h }) => {
      const bias = graph.weight('bias', [output])
      return { y: gemm(graph, h, graph.weight('weight', [output, hidden]), bias) }
    })
    builder.output('y', y)
    return builder.finish()
  }
}

/** A byte source in memory that counts its reads. With `onRead`, a test can make a read wait or fail. */
export class TestSource implements ByteSource {
  readonly byteLength: number
  reads = 0
  /** Called before each read is answered. */
  onRead: (read: number, range: ByteRange) => void | Promise<void> = () => {}
  readonly #bytes: Uint8Array<ArrayBuffer>

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes
    this.byteLength = bytes.byteLength
  }

  async read({ begin, end }: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    await this.onRead(this.reads++, { begin, end })
    throwIfAborted(options.signal)
    if (begin < 0 || end > this.byteLength) throw new RangeError(`read ${begin}–${end} of ${this.byteLength}`)
    return this.#bytes.slice(begin, end)
  }
}

/** Small numbers that differ by index and by seed. */
export function numbers(count: number, seed: number): Float32Array<ArrayBuffer> {
  const result = new Float32Array(count)
  for (let i = 0; i < count; i++) result[i] = Math.sin(i * 1.7 + seed * 0.61) * 0.4
  return result
}

/** A checkpoint of these shapes in one source, with values as float32 beside it. */
export interface TestCheckpoint {
  readonly table: WeightTable
  readonly source: TestSource
  readonly values: ReadonlyMap<string, Float32Array<ArrayBuffer>>
}

/** Stores `numbers` for each shape as `dtype`, one tensor after the other. */
export function testCheckpoint(
  shapes: Readonly<Record<string, readonly number[]>>,
  dtype: 'F32' | 'F16' | 'BF16' = 'F32',
): TestCheckpoint {
  const values = new Map<string, Float32Array<ArrayBuffer>>()
  const found: { name: string; shape: readonly number[]; bytes: Uint8Array<ArrayBuffer> }[] = []
  for (const [index, [name, shape]] of Object.entries(shapes).entries()) {
    const data = numbers(elementCount(shape), index)
    values.set(name, data)
    found.push({ name, shape, bytes: encode(data, dtype) })
  }
  const file = new Uint8Array(found.reduce((sum, { bytes }) => sum + bytes.byteLength, 0))
  const source = new TestSource(file)
  const table = new Map<string, TensorEntry>()
  let begin = 0
  for (const { name, shape, bytes } of found) {
    const end = begin + bytes.byteLength
    // The source reads the same memory, so it sees the bytes that are written here.
    file.set(bytes, begin)
    table.set(name, { name, dtype, shape, source, begin, end })
    begin = end
  }
  return { table, source, values }
}

function encode(data: Float32Array<ArrayBuffer>, dtype: SafetensorsDType): Uint8Array<ArrayBuffer> {
  if (dtype === 'F32') return new Uint8Array(data.buffer)
  const bits = new Uint32Array(data.buffer)
  return new Uint8Array((dtype === 'F16' ? float32ToFloat16(data) : Uint16Array.from(bits, (value) => value >>> 16)).buffer)
}

/** The shapes of a tower's weights, by name. */
export function towerShapes(blocks: number): Record<string, readonly number[]> {
  const { input, hidden, output } = towerSizes
  const shapes: Record<string, readonly number[]> = { 'first.weight': [hidden, input] }
  for (let block = 0; block < blocks; block++) {
    shapes[`blocks.${block}.weight`] = [hidden, hidden]
    shapes[`blocks.${block}.bias`] = [hidden]
  }
  shapes['last.weight'] = [output, hidden]
  shapes['last.bias'] = [output]
  return shapes
}

/** The tower's output in double arithmetic. */
export function towerReference(values: TestCheckpoint['values'], blocks: number, x: Float32Array, rows: number): number[] {
  const linear = (from: readonly number[], name: string, width: number): number[] => {
    const weight = values.get(`${name}.weight`) ?? new Float32Array()
    const bias = values.get(`${name}.bias`)
    const out = weight.length / width
    return Array.from({ length: rows * out }, (_, at) => {
      const [row, column] = [Math.floor(at / out), at % out]
      let sum = bias?.[column] ?? 0
      for (let k = 0; k < width; k++) sum += (from[row * width + k] ?? 0) * (weight[column * width + k] ?? 0)
      return sum
    })
  }
  let h = linear([...x], 'first', towerSizes.input)
  for (let block = 0; block < blocks; block++) {
    const inner = linear(h, `blocks.${block}`, towerSizes.hidden)
    h = h.map((value, at) => value + (inner[at] ?? 0) / (1 + Math.exp(-(inner[at] ?? 0))))
  }
  return linear(h, 'last', towerSizes.hidden)
}

/** The largest difference between two arrays of one length; Infinity when their lengths differ. */
export function worstError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let i = 0; i < actual.length; i++)
    worst = Math.max(worst, Math.abs((actual[i] ?? Number.NaN) - (expected[i] ?? Number.NaN)))
  return Number.isNaN(worst) ? Number.POSITIVE_INFINITY : worst
}
