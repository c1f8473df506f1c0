/** Reads the files of fixtures/gguf, and compares their values with those that the gguf package reads. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import type { ByteSource } from '../hub/types.js'
import { fixtures, readReference } from '../pipelines/testing.node.js'
import { float16ToFloat32 } from '../util/half.js'
import { decodeFloats, isFloatDType } from './element-types.js'
import { readGguf } from './gguf.js'
import { MemorySource } from './testing.js'
import { readTensorFile } from './tensor-file.js'
import { dequantizeRows, quantizedLayout } from './transforms/quantize-rows.js'
import { quantizeBlocks } from './transforms/quantize-blocks.js'
import type { TensorEntry, WeightTable } from './types.js'

const folder = join(fixtures, 'gguf')
const bytes = () => Uint8Array.from(readFileSync(join(folder, 'blocks.gguf')))
const expected = readReference(join(folder, 'blocks.safetensors'))

async function floats({ source, begin, end, dtype }: TensorEntry): Promise<Float32Array> {
  if (!isFloatDType(dtype)) throw new Error(`The tensor is ${dtype}.`)
  return decodeFloats(Uint8Array.from(await source.read({ begin, end })), dtype)
}

test.each(Object.entries(expected))('%s has the values that the gguf package reads', async (name, { data, dims }) => {
  const { tensors } = await readTensorFile(new MemorySource(bytes()), 'blocks.gguf')
  const entry = tensors.get(name)!
  expect(entry.shape).toEqual(dims)
  const values = await floats(entry)
  // Both sides compute a code times a product of scales, plus a minimum, in float32.
  for (const [i, value] of data.entries()) expect(Math.abs(values[i]! - value)).toBeLessThanOrEqual(2e-6 * Math.abs(value) + 1e-7)
})

test('a read of a part of a tensor gives the same bytes as a read of all of it', async () => {
  const { tensors } = await readGguf(new MemorySource(bytes()), 'blocks.gguf')
  for (const { source, begin, end } of tensors.values()) {
    const all = await source.read({ begin, end })
    expect(await source.read({ begin: begin + 130, end: begin + 517 })).toEqual(all.slice(130, 517))
  }
})

const table = async () => {
  const { tensors } = await readGguf(new MemorySource(bytes()), 'blocks.gguf')
  return new Map([...tensors].map(([name, entry]) => [`${name}.weight`, { ...entry, name: `${name}.weight` }]))
}

const read = async (made: WeightTable, name: string) => {
  const entry = made.get(name)!
  return Uint8Array.from(await entry.source.read(entry))
}

const weights = async (made: WeightTable, name: string, bits: 4 | 8) => {
  const scales = new Uint16Array((await read(made, `${name}_scale`)).buffer)
  const layout = quantizedLayout([2, 256], { bits })
  return { values: dequantizeRows({ codes: await read(made, name), scales, zeroPoints: new Uint8Array() }, layout), scales }
}

describe('converted to Aquatint’s blocks', () => {
  test('files that were quantized as llama.cpp does it keep every code and every scale', async () => {
    const { tensors } = await readGguf(
      new MemorySource(Uint8Array.from(readFileSync(join(folder, 'transformer.gguf')))),
      'transformer.gguf',
    )
    const quantized = [...tensors.values()].filter(({ blocks }) => /^Q[48]_0$/.test(blocks?.name ?? ''))
    expect(new Set(quantized.map(({ blocks }) => blocks?.name))).toEqual(new Set(['Q8_0', 'Q4_0']))
    for (const entry of quantized) {
      const made = quantizeBlocks(undefined, () => expect.fail('Nothing was to be quantized again.')).apply(
        new Map([[entry.name, entry]]),
      )
      const layout = quantizedLayout(entry.shape, { bits: entry.blocks!.bits })
      const codes = await read(made, entry.name)
      const scales = new Uint16Array((await read(made, `${entry.name}_scale`)).buffer)
      const stored = await floats(entry)
      const values = dequantizeRows({ codes, scales, zeroPoints: new Uint8Array() }, layout)
      expect(values.every((value, i) => value === stored[i])).toBe(true)
    }
  })

  test('other block types are quantized to 8 or 4 bits, and the relative error is reported once for each type', async () => {
    const errors = new Map<string, number>()
    const made = quantizeBlocks(undefined, (type, bits, error) => {
      expect(errors.has(type)).toBe(false)
      expect(bits).toBe(/Q[56]/.test(type) ? 8 : 4)
      errors.set(type, error)
    }).apply(await table())
    for (const [name, bits] of [
      ['Q5_0', 8],
      ['Q5_1', 8],
      ['Q5_K', 8],
      ['Q6_K', 8],
      ['Q4_1', 4],
      ['Q4_K', 4],
      ['Q3_K', 4],
      ['Q2_K', 4],
    ] as const) {
      const { values } = await weights(made, `${name}.weight`, bits)
      const { data } = expected[name]!
      const error = data.reduce((sum, value, i) => sum + (value - values[i]!) ** 2, 0)
      const size = data.reduce((sum, value) => sum + value ** 2, 0)
      expect(errors.get(name)).toBeCloseTo(Math.sqrt(error / size), 5)
      expect(errors.get(name)).toBeLessThan(bits === 8 ? 0.01 : 0.2)
    }
    expect(made.get('F16.weight')?.dtype).toBe('F16')
  })

  test('scales are float16, as the kernels expect them', async () => {
    const { scales } = await weights(quantizeBlocks(undefined).apply(await table()), 'Q8_0.weight', 8)
    expect(float16ToFloat32(scales).every((scale) => Number.isFinite(scale))).toBe(true)
  })
})

test('integers in the metadata that are too large for a float64 to hold exactly are skipped', async () => {
  const copy = bytes()
  const view = new DataView(copy.buffer)
  const begin = new TextEncoder().encode('big')
  // One more metadata entry before the others: its name, the type uint64, and a number.
  const entry = new Uint8Array(8 + begin.length + 4 + 8)
  const own = new DataView(entry.buffer)
  own.setBigUint64(0, BigInt(begin.length), true)
  entry.set(begin, 8)
  own.setUint32(8 + begin.length, 10, true)
  own.setBigUint64(12 + begin.length, (1n << 64n) - 1n, true)
  view.setBigUint64(16, view.getBigUint64(16, true) + 1n, true)
  const file = Uint8Array.from([...copy.slice(0, 24), ...entry, ...copy.slice(24), ...new Uint8Array(32)])
  const { tensors } = await readGguf(new MemorySource(file), 'x.gguf')
  expect([...tensors.keys()].toSorted()).toEqual(Object.keys(expected).toSorted())
})

describe('what is refused', () => {
  const changed = (change: (bytes: Uint8Array, view: DataView) => void): ByteSource => {
    const copy = bytes()
    change(copy, new DataView(copy.buffer))
    return new MemorySource(copy)
  }
  test.each<[string, ByteSource]>([
    ['another version', changed((_, view) => view.setUint32(4, 9, true))],
    ['more tensors than are allowed', changed((_, view) => view.setBigUint64(8, 1n << 40n, true))],
    ['more metadata than are allowed', changed((_, view) => view.setBigUint64(16, 1n << 40n, true))],
    ['a file that ends within its header', new MemorySource(bytes().slice(0, 60))],
    ['a file that ends within its tensors', new MemorySource(bytes().slice(0, -64))],
  ])('%s', async (_, source) => {
    await expect(readTensorFile(source, 'x.gguf')).rejects.toMatchObject({ code: 'gguf-header' })
  })

  test('mutated headers: each gives tensors inside the file, or an error with a code', async () => {
    // A pseudorandom generator with a fixed seed, so that each run makes the same mutations.
    let state = 1
    const int = (below: number) => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) % below
    const numbers = [0n, 1n, 1n << 25n, (1n << 32n) - 1n, 1n << 40n, (1n << 53n) - 1n, (1n << 64n) - 1n]
    const original = bytes()
    const codes = new Map<unknown, number>()
    for (let round = 0; round < 2000; round++) {
      let copy = original.slice()
      for (let change = 0; change <= int(4); change++) {
        const at = int(1000)
        if (int(3) === 0) copy[at] = int(256)
        else if (int(8) === 0) copy = copy.slice(0, 1100 + int(copy.length))
        else new DataView(copy.buffer).setBigUint64(at, numbers[int(numbers.length)] ?? 0n, true)
      }
      const source = new MemorySource(copy)
      const code = await readGguf(source, 'x.gguf').then(
        ({ tensors }) => {
          for (const { begin, end, source: own } of tensors.values()) expect(begin <= end && end <= own.byteLength).toBe(true)
          return 'read'
        },
        (error: unknown) => (error instanceof AquatintError ? error.code : error),
      )
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
    expect(new Set(codes.keys())).toEqual(new Set(['read', 'gguf-header', 'gguf-type']))
    for (const count of codes.values()) expect(count).toBeGreaterThan(10)
  })

  test('a type that is not read, by its number', async () => {
    const copy = bytes()
    const name = new TextEncoder().encode('Q6_K')
    const at = copy.findIndex((_, i) => name.every((value, k) => copy[i + k] === value))
    // After the name: the rank, two dimensions, then the type.
    new DataView(copy.buffer).setUint32(at + name.length + 4 + 16, 20, true)
    await expect(readTensorFile(new MemorySource(copy), 'x.gguf')).rejects.toMatchObject({
      code: 'gguf-type',
      details: { type: 20 },
    })
  })
})
