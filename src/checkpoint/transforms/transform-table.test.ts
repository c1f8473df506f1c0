import { describe, expect, it } from 'vitest'
import type { ByteRange, ByteSource } from '../../hub/types.js'
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from '../../util/half.js'
import { castWeights } from './cast.js'
import { quantize } from './quantize.js'
import { recipeOf, transformTable } from './transform-table.js'
import { pieceElements } from './pieces.js'
import { dequantizeRows, quantizedLayout, quantizeRows } from './quantize-rows.js'
import { QuantizedTensor, ScaleMemory } from './quantize-source.js'
import { MemorySource } from '../testing.js'
import type { SafetensorsDType, TensorEntry, WeightTable } from '../types.js'
import { bytesOf, decodeFloats } from '../element-types.js'

function values(count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1) * 0.1)
}

/** A tensor at an odd offset in a file. */
function entryOf(
  name: string,
  dtype: SafetensorsDType,
  shape: readonly number[],
  bytes: Uint8Array,
): TensorEntry & { source: MemorySource } {
  const file = new Uint8Array(3 + bytes.byteLength + 5).fill(0xff)
  file.set(bytes, 3)
  return { name, dtype, shape, source: new MemorySource(file), begin: 3, end: 3 + bytes.byteLength }
}

const tableOf = (...entries: TensorEntry[]): WeightTable => new Map(entries.map((entry) => [entry.name, entry]))
const whole = (entry: TensorEntry | undefined) => entry!.source.read({ begin: entry!.begin, end: entry!.end })
const patterns = (bytes: Uint8Array<ArrayBuffer>) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)

/** Reads a source in reads of `step` bytes. */
async function inSteps(source: ByteSource, step: number): Promise<Uint8Array> {
  const result = new Uint8Array(source.byteLength)
  for (let begin = 0; begin < source.byteLength; begin += step)
    result.set(await source.read({ begin, end: Math.min(begin + step, source.byteLength) }), begin)
  return result
}

const all = (source: ByteSource) => source.read({ begin: 0, end: source.byteLength })
const small = (name: string) => entryOf(name, 'F16', [2, 64], bytesOf(float32ToFloat16(values(128))))

describe('casting', () => {
  const numbers = Float32Array.of(
    0,
    -0,
    1,
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    -2.7,
    1e-7,
    65_504,
    1e-40,
    Number.NaN,
    Number.NEGATIVE_INFINITY,
  )

  it('casts F32 to F16 and keeps integers and what is F16 already', async () => {
    const [half, integers] = [entryOf('h', 'F16', [1], Uint8Array.of(0, 60)), entryOf('i', 'I64', [1], new Uint8Array(8))]
    const table = transformTable(tableOf(entryOf('a', 'F32', [11], bytesOf(numbers)), half, integers), [castWeights('F16')])
    expect([...table.keys()]).toEqual(['a', 'h', 'i'])
    expect(table.get('a')).toMatchObject({ dtype: 'F16', shape: [11], begin: 0, end: 22 })
    expect(patterns(await whole(table.get('a')))).toEqual(float32ToFloat16(numbers))
    expect(table.get('h')).toBe(half)
    expect(table.get('i')).toBe(integers)
  })

  it('casts F32 to BF16, to nearest even', async () => {
    const table = transformTable(tableOf(entryOf('a', 'F32', [11], bytesOf(numbers))), [castWeights('BF16')])
    const back = bfloat16ToFloat32(patterns(await whole(table.get('a'))))
    // bfloat16 has 7 mantissa bits: 1 + 2^-8 is a tie that rounds down to even, 1 + 3·2^-8 one that rounds up to even.
    expect([...back.subarray(0, 5)]).toEqual([0, -0, 1, 1, 1 + 2 ** -6])
    expect(back[5]).toBe(-2.703125)
    expect(Math.abs(back[6]! - 1e-7)).toBeLessThanOrEqual(1e-7 * 2 ** -8)
    expect(back[7]).toBe(65_536)
    expect([...back.subarray(9)]).toEqual([Number.NaN, Number.NEGATIVE_INFINITY])
  })

  it.each(['F16', 'BF16', 'F8_E4M3', 'F8_E5M2'] as const)('widens %s to F32 exactly', async (dtype) => {
    const bytes = Uint8Array.from({ length: 12 }, (_, i) => 17 * i)
    const table = transformTable(tableOf(entryOf('a', dtype, [dtype.startsWith('F8') ? 12 : 6], bytes)), [castWeights('F32')])
    const read = await whole(table.get('a'))
    expect(new Float32Array(read.buffer)).toEqual(decodeFloats(bytes.slice(), dtype))
  })

  it('returns any part of a tensor, also one that splits elements', async () => {
    const numbers = values(1000)
    const entry = transformTable(tableOf(entryOf('a', 'F32', [1000], bytesOf(numbers))), [castWeights('F16')]).get('a')!
    const all = await whole(entry)
    for (const step of [1, 3, 64, 777]) expect(await inSteps(entry.source, step)).toEqual(all)
  })

  it('reports values that overflow', async () => {
    const reported: [string, number][] = []
    const big = Float32Array.of(1, 70_000, -1e9, Number.POSITIVE_INFINITY)
    const table = transformTable(tableOf(entryOf('a', 'F32', [4], bytesOf(big))), [
      castWeights('F16', (...args) => reported.push(args)),
    ])
    expect([...float16ToFloat32(patterns(await whole(table.get('a'))))]).toEqual([
      1,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.POSITIVE_INFINITY,
    ])
    expect(reported).toEqual([['a', 2]])
  })

  it('refuses a read outside the tensor', async () => {
    const entry = transformTable(tableOf(entryOf('a', 'F32', [4], bytesOf(values(4)))), [castWeights('F16')]).get('a')!
    await expect(entry.source.read({ begin: 0, end: 9 })).rejects.toThrow(RangeError)
    await expect(entry.source.read({ begin: -1, end: 2 })).rejects.toThrow(RangeError)
  })
})

describe.each([4, 8] as const)('quantizing to int%i', (bits) => {
  const [rows, columns] = [700, 2048]
  const weights = values(rows * columns)
  const options = { bits, zeroPoints: true }
  const layout = quantizedLayout([rows, columns], options)
  const make = () => {
    const raw = entryOf('x.weight', 'F32', [rows, columns], bytesOf(weights))
    return {
      raw,
      table: transformTable(tableOf(raw, entryOf('x.bias', 'F32', [4], bytesOf(values(4)))), [
        quantize(options),
        castWeights('F16'),
      ]),
    }
  }

  it('names and shapes the tensors as documented', () => {
    const { table } = make()
    expect([...table.values()].map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
      ['x.weight', 'U8', [700, 64, (32 * bits) / 8]],
      ['x.weight_scale', 'F16', [700, 64]],
      ['x.weight_zero_point', 'U8', [700, (64 * bits) / 8]],
      ['x.bias', 'F16', [4]],
    ])
    for (const { shape, dtype, begin, end } of table.values())
      expect(end - begin).toBe(shape.reduce((a, b) => a * b, dtype === 'U8' ? 1 : 2))
  })

  it('equals quantizing the whole weight, in reads of any size and in any order', async () => {
    const expected = quantizeRows(weights, layout, 'x')
    const { table } = make()
    const parts = [
      ['x.weight_scale', bytesOf(expected.scales)],
      ['x.weight', expected.codes],
      ['x.weight_zero_point', expected.zeroPoints],
      ['x.weight_scale', bytesOf(expected.scales)],
    ] as const
    for (const step of [99_991, 1 << 24]) {
      for (const [name, bytes] of parts) expect(Buffer.compare(await inSteps(table.get(name)!.source, step), bytes)).toBe(0)
    }
    const { codes, scales, zeroPoints } = expected
    const back = dequantizeRows({ codes, scales, zeroPoints }, layout)
    expect(back.every((value, i) => Math.abs(value - weights[i]!) < 0.02)).toBe(true)
  })

  it('reads the source once, in pieces, when tensors are read in order', async () => {
    const { raw, table } = make()
    for (const entry of table.values()) await inSteps(entry.source, 1 << 24)
    const total = raw.source.reads.reduce((sum, read) => sum + read.end - read.begin, 0)
    expect(total).toBe(weights.byteLength)
    expect(Math.max(...raw.source.reads.map((read) => read.end - read.begin))).toBeLessThanOrEqual(4 * pieceElements)
  })

  it('reads the source once also when all parts are requested at once', async () => {
    const { raw, table } = make()
    await Promise.all([...table.values()].map((entry) => whole(entry)))
    expect(raw.source.reads.reduce((sum, read) => sum + read.end - read.begin, 0)).toBe(weights.byteLength)
  })

  it('reads a weight again for scales that it no longer keeps', async () => {
    const layout = quantizedLayout([2, 64], { bits })
    // The memory can hold the scales of two weights: those of the third replace those of the first.
    const memory = new ScaleMemory(2 * 2 * layout.scaleBytes)
    const raw = ['a', 'b', 'c'].map(small)
    const tensors = raw.map((entry) => new QuantizedTensor(entry, layout, memory))
    for (const { codes } of tensors) await all(codes)
    const scales = await Promise.all(tensors.map((tensor) => all(tensor.scales)))
    expect(raw.map((entry) => entry.source.reads.length)).toEqual([2, 1, 1])
    for (const one of scales) expect(one).toEqual(scales[0])
    // Nothing is kept if one weight alone is too large.
    const none = new QuantizedTensor(small('d'), layout, new ScaleMemory(1))
    await all(none.codes)
    expect(await all(none.scales)).toEqual(scales[0])
  })

  it('works again after a failed read', async () => {
    const raw = small('x.weight')
    let fails = true
    const flaky = {
      ...raw,
      source: {
        byteLength: raw.source.byteLength,
        read: (range: ByteRange) => (fails ? Promise.reject(new Error('gone')) : raw.source.read(range)),
      },
    }
    const table = transformTable(tableOf(flaky), [quantize({ bits })])
    const [codes, scales] = [whole(table.get('x.weight')), whole(table.get('x.weight_scale'))]
    await expect(codes).rejects.toThrow('gone')
    await expect(scales).rejects.toThrow('gone')
    fails = false
    expect((await whole(table.get('x.weight'))).byteLength).toBe((128 * bits) / 8)
  })
})

it('refuses a checkpoint that has one of the new names', () => {
  const weight = entryOf('x.weight', 'F16', [1, 32], new Uint8Array(64))
  const taken = entryOf('x.weight_scale', 'F16', [1], new Uint8Array(2))
  for (const table of [tableOf(weight, taken), tableOf(taken, weight)])
    expect(() => transformTable(table, [quantize({ bits: 4 })])).toThrow(expect.objectContaining({ code: 'quantized-name' }))
})

it('casts everything but the scales of quantized weights', () => {
  const weight = entryOf('x.weight', 'F32', [1, 32], new Uint8Array(128))
  const scale = entryOf('y.weight_scale', 'F16', [1], new Uint8Array(2))
  const table = transformTable(tableOf(weight, scale), [quantize({ bits: 8 }), castWeights('F32')])
  expect([...table.values()].map(({ name, dtype }) => [name, dtype])).toEqual([
    ['x.weight', 'U8'],
    ['x.weight_scale', 'F16'],
    ['y.weight_scale', 'F32'],
  ])
})

it('applies transforms in order, and names each of them in the recipe', () => {
  const weight = entryOf('x.weight', 'F32', [1, 32], new Uint8Array(128))
  // Quantized weights are codes, which a cast leaves alone; float16 weights can be quantized.
  const castFirst = [castWeights('F16'), quantize({ bits: 4, blockSize: 16 })]
  expect([...transformTable(tableOf(weight), castFirst).values()].map(({ dtype }) => dtype)).toEqual(['U8', 'F16'])
  expect(recipeOf(castFirst)).toBe('[{"name":"cast","to":"F16"},{"name":"quantize","version":2,"bits":4,"blockSize":16}]')
  expect(recipeOf([])).toBe('[]')
})

it('keeps the recipe under which the caches of users hold quantized weights', () => {
  const recipe = recipeOf([quantize({ bits: 4, blockSize: 32 }), castWeights('F16')])
  expect(recipe).toBe('{"kind":"quantize","version":2,"rest":"F16","bits":4,"blockSize":32}')
})
