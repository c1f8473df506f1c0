/** Quantized weights in a browser: MatMulNBits on a real WebGPU device, with tensors that are quantized while they are read, and the cache of quantized copies. */

import { CLIPTextModel } from '../models/text-encoders/clip-text-model.js'
import { afterEach, describe, expect, test } from 'vitest'
import { castWeights } from '../checkpoint/transforms/cast.js'
import { quantize } from '../checkpoint/transforms/quantize.js'
import { transformTable } from '../checkpoint/transforms/transform-table.js'
import { dequantizeRows, quantizedLayout, quantizeRows, type QuantizeOptions } from '../checkpoint/transforms/quantize-rows.js'
import type { TensorEntry, WeightTable } from '../checkpoint/types.js'
import { Hub } from '../hub/hub.js'
import { linear } from '../models/layers/layers.js'
import { quantizedWeights } from '../models/match-weights.js'
import { ComponentBuilder } from '../onnx/component-builder.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import { openDevice } from '../runtime/open-device.js'
import { numbers, testCheckpoint, type TestCheckpoint } from '../runtime/testing.js'
import { quantizingTransforms } from './loading/dtypes.js'
import { transformWeights } from './loading/transform-weights.js'
import { Run } from './run.js'
import type { Shapes } from '../onnx/types.js'
import type { Device } from '../runtime/device.js'

const [columns, rows] = [256, 80]
const shapes = { 'fc.weight': [rows, columns], 'fc.bias': [rows] }

let device: Device | undefined
afterEach(async () => {
  await device?.dispose()
  device = undefined
})

/** One Linear from x [n, columns] to y [n, rows], on the device. */
function makeLinear(on: Device, table: WeightTable) {
  const options = {
    ...on.writeOptions({ dtype: 'float32', granularity: 'block' }),
    quantized: quantizedWeights(CLIPTextModel, table),
  }
  const graph = ({ x: dims = [1, columns] }: Shapes) => {
    const builder = new ComponentBuilder('linear', options)
    const x = builder.input('x', 'float32', dims)
    const { y } = builder.stage('linear', { x }, (graph, { x }) => ({ y: linear(graph, x, 'fc', rows) }), '')
    builder.output('y', y)
    return builder.finish()
  }
  return new BoundNetwork({ name: 'linear', device: on, table, graph, shapes: { x: [1, columns] } })
}

/** x · Wᵀ + b in float64, with a bound on float32's error: one rounding for each product and sum. */
function reference(x: Float32Array, weights: Float32Array, bias: Float32Array) {
  const count = x.length / columns
  return Array.from({ length: count * rows }, (_, i) => {
    const [n, row] = [Math.floor(i / rows), i % rows]
    let sum = bias[row]!
    let size = Math.abs(sum)
    for (let k = 0; k < columns; k++) {
      const term = x[n * columns + k]! * weights[row * columns + k]!
      sum += term
      size += Math.abs(term)
    }
    return { value: sum, bound: (columns + 3) * 2 ** -24 * size }
  })
}

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  const options: QuantizeOptions[] = [{ bits: 8 }, { bits: 4 }, { bits: 4, zeroPoints: true }, { bits: 8, blockSize: 128 }]
  test.each(options)('a Linear with %o computes with the values of its codes', async (how) => {
    device = await openDevice({ kind })
    const { table, values } = testCheckpoint(shapes)
    const component = makeLinear(device, transformTable(table, [quantize(how), castWeights('F16')]))
    const layout = quantizedLayout([rows, columns], how)
    const weights = dequantizeRows(quantizeRows(values.get('fc.weight')!, layout, 'fc.weight'), layout)
    // Few rows and many rows use different kernels.
    for (const count of [1, 5, 70]) {
      const x = numbers(count * columns, 7)
      const { y } = await component.run({ x: { type: 'float32', dims: [count, columns], data: x } })
      const actual = await y!.read()
      y!.dispose()
      // The bias is stored in float16.
      const bias = values.get('fc.bias')!
      for (const [i, { value, bound }] of reference(x, weights, bias).entries())
        expect(Math.abs(actual[i]! - value)).toBeLessThanOrEqual(bound + Math.abs(bias[i % rows]!) * 2 ** -11)
    }
    if (kind === 'webgpu') {
      const { codeBytes, blocksPerRow, zeroPointBytes } = layout
      // The device has codes, zero points, and scales and a bias in float32, the dtype of the network. It does not have the float weight.
      expect(device.memory.snapshot().liveWeights).toBe(rows * (codeBytes + 4 * blocksPerRow + zeroPointBytes + 4))
    }
    await component.dispose()
  })
})

const run = new Run({})
/** A checkpoint of two Linears, with a content key that no other test uses. */
function checkpoint(): TestCheckpoint & { readonly key: string } {
  const made = testCheckpoint({ 'a.weight': [256, 512], 'b.weight': [300, 512], 'b.bias': [300] }, 'F16')
  const key = `sha256:${crypto.randomUUID()}`
  Object.defineProperty(made.source, 'contentKey', { value: key })
  return { ...made, key }
}
/** The quantized copy of a checkpoint, from a new hub on the same database, as after a reload. */
const make = async (
  { table, key }: { readonly table: WeightTable; readonly key: string },
  word: 'q8' | 'q4',
  read = () => Promise.resolve(table),
) =>
  transformWeights(
    { component: 'unet', transforms: quantizingTransforms(word, undefined), label: word, contents: [key], read },
    await open(),
    run,
  )
const gone = () => Promise.reject(new Error('The original was opened'))
const open = () => Hub.open({ settings: { chunkBytes: 32 << 10 } })
const read = async (table: WeightTable) => {
  const bytes = new Map<string, Uint8Array>()
  for (const [name, { source, begin, end }] of table) bytes.set(name, await source.read({ begin, end }))
  return bytes
}
const described = (table: WeightTable) => [...table.values()].map(({ name, dtype, shape }: TensorEntry) => [name, dtype, shape])

describe('in the cache', () => {
  test('weights are quantized once, and then read from the quantized copy alone', async () => {
    const { table, key } = checkpoint()
    const expected = transformTable(table, [quantize({ bits: 4 }), castWeights('F16')])
    const first = await make({ table, key }, 'q4')
    expect(described(first.table)).toEqual(described(expected))
    const bytes = await read(first.table)
    expect(bytes).toEqual(await read(expected))
    first.release()
    const second = await make({ table, key }, 'q4', gone)
    expect(described(second.table)).toEqual(described(expected))
    expect(await read(second.table)).toEqual(bytes)
    second.release()
    await expect(make({ table, key }, 'q8', gone)).rejects.toThrow('The original was opened')
  })

  test('chunks that the browser evicted are quantized again from the original, which is opened only then', async () => {
    const { table, key } = checkpoint()
    const first = await make({ table, key }, 'q4')
    const bytes = await read(first.table)
    first.release()
    const hub = await open()
    const before = new Set(await hub.store.chunkFiles())
    const other = checkpoint()
    ;(await make(other, 'q4')).release()
    const made = (await hub.store.chunkFiles()).find((file) => !before.has(file))
    await hub.store.deleteChunks(made!)
    let opened = 0
    const again = await make(other, 'q4', () => {
      opened++
      return Promise.resolve(other.table)
    })
    expect(opened).toBe(1)
    expect(await read(again.table)).toEqual(bytes)
    again.release()
  })

  test('quantizing resumes where it stopped', async () => {
    const { table, source, key } = checkpoint()
    const expected = await read(transformTable(table, [quantize({ bits: 8 }), castWeights('F16')]))
    // One read for each of nine chunks, and a few for the tensors that cross chunks.
    let left = 6
    source.onRead = () => {
      if (left-- <= 0) throw new Error('The tab was closed')
    }
    await expect(make({ table, key }, 'q8')).rejects.toThrow('The tab was closed')
    source.reads = 0
    source.onRead = () => {}
    const { table: made, release } = await make({ table, key }, 'q8')
    expect(source.reads).toBeGreaterThan(0)
    const again = source.reads
    source.reads = 0
    expect(await read(made)).toEqual(expected)
    expect(source.reads).toBe(0)
    release()
    // Quantizing from the beginning takes more reads.
    const fresh = checkpoint()
    await make(fresh, 'q8')
    expect(again).toBeLessThan(fresh.source.reads)
  })

  test('a file with other content has another quantized copy', async () => {
    const [a, b] = [checkpoint(), checkpoint()]
    await make(a, 'q4')
    await make(b, 'q4')
    expect(b.source.reads).toBe(a.source.reads)
    expect(b.source.reads).toBeGreaterThan(0)
  })
})
