/** Quantized Linears: a graph with MatMulNBits gives the same as the network with the dequantized weights. */

import { describe, expect, test } from 'vitest'
import {
  dequantizeRows,
  isQuantizable,
  optionsFor,
  quantizedLayout,
  quantizeRows,
  type QuantizeOptions,
} from '../checkpoint/transforms/quantize-rows.js'
import { fixtureCalls } from './fixture-calls.node.js'
import { matchWeights, quantizedWeights } from './match-weights.js'
import { plain, relativeError, runGraph, type MemoryEntry } from './testing.node.js'

/** A table with its Linears quantized, and one with the dequantized values. */
function quantize(table: ReadonlyMap<string, MemoryEntry>, given: QuantizeOptions) {
  const coded = new Map(table)
  const decoded = new Map(table)
  let count = 0
  for (const entry of table.values()) {
    if (!isQuantizable(entry, given)) continue
    const options = optionsFor(entry.name, given)
    count++
    const layout = quantizedLayout(entry.shape, options)
    const { rows, blocksPerRow, blockSize, bits } = layout
    const quantized = quantizeRows(plain(entry).data, layout, entry.name)
    const add = (name: string, dtype: 'U8' | 'F16', shape: number[], data: Uint8Array | Uint16Array) => {
      const bytes = Uint8Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      coded.set(name, Object.assign({}, entry, { name, dtype, shape, bytes }))
    }
    add(entry.name, 'U8', [rows, blocksPerRow, (blockSize * bits) / 8], quantized.codes)
    add(`${entry.name}_scale`, 'F16', [rows, blocksPerRow], quantized.scales)
    if (layout.zeroPoints) add(`${entry.name}_zero_point`, 'U8', [rows, layout.zeroPointBytes], quantized.zeroPoints)
    const values = dequantizeRows(quantized, layout)
    decoded.set(entry.name, Object.assign({}, entry, { dtype: 'F32', bytes: new Uint8Array(values.buffer) } as const))
  }
  return { coded, decoded, count }
}

const cases: readonly (readonly [string, string])[] = [
  ['tiny-sdxl', 'unet.forward'],
  ['tiny-sdxl', 'text_encoder_2.forward'],
  ['tiny-sd3', 'text_encoder_3.short'],
  ['tiny-sd35', 'transformer.forward'],
]
const settings: readonly QuantizeOptions[] = [
  { bits: 8 },
  { bits: 4 },
  { bits: 4, zeroPoints: true },
  { bits: 8, blockSize: 16, zeroPoints: true },
]

describe.each(cases)('%s %s', (name, call) => {
  test.each(settings)('quantized with %o, it computes what its dequantized weights compute', async (options) => {
    const { definition, table, write, inputs, expected } = fixtureCalls(name).get(call)!()
    const { coded, decoded, count } = quantize(table, { ...options, sensitive: definition.sensitive })
    expect(count).toBeGreaterThan(3)
    for (const weights of ['initializer', 'input'] as const) {
      const form = { dtype: 'float32', weights, granularity: 'block' } as const
      const float = matchWeights(definition, write(form), decoded)
      const quantized = matchWeights(definition, write({ ...form, quantized: quantizedWeights(definition, coded) }), coded)
      expect(quantized.unexpected).toEqual([])
      const wanted = await runGraph(float.graphs[0]!, decoded, inputs)
      const got = await runGraph(quantized.graphs[0]!, coded, inputs)
      for (const key of Object.keys(expected)) {
        expect(relativeError(got[key], wanted[key]!), key).toBeLessThan(1e-5)
        // The result differs from the checkpoint's, so the quantized weights were used.
        expect(relativeError(got[key], expected[key]!), key).toBeGreaterThan(1e-4)
      }
    }
  })
})
