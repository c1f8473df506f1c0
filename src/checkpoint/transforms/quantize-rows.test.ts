import { describe, expect, it } from 'vitest'
import { InferenceSession, Tensor } from 'onnxruntime-web'
import { GraphBuilder } from '../../onnx/graph-builder.js'
import { float16ToFloat32, float32ToFloat16 } from '../../util/half.js'
import { dequantizeRows, isQuantizable, quantizedLayout, quantizeRows, type QuantizeOptions } from './quantize-rows.js'

/** Numbers in −1…1 that are the same on every run (a linear congruential generator). */
function numbers(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 31 - 1
  })
}

/** Weights with a tail, as networks have: cubes of uniform numbers. */
function weightsOf(rows: number, columns: number, seed: number): Float32Array<ArrayBuffer> {
  return numbers(rows * columns, seed).map((x) => 0.3 * x ** 3)
}

const half = (x: number) => float16ToFloat32(float32ToFloat16(Float32Array.of(x)))[0]!

/** Quantizes by the definition, one weight at a time, into plain arrays: codes [rows][columns], scales and zero points [rows][blocks]. */
function reference(weights: Float32Array, columns: number, options: QuantizeOptions) {
  const { bits, blockSize = 32, zeroPoints = false } = options
  const top = 2 ** bits - 1
  const codes: number[][] = []
  const scales: number[][] = []
  const points: number[][] = []
  for (let row = 0; row * columns < weights.length; row++) {
    const line = [...weights.subarray(row * columns, (row + 1) * columns)]
    const [lineCodes, lineScales, linePoints]: number[][] = [[], [], []]
    for (let at = 0; at < columns; at += blockSize) {
      const block = line.slice(at, at + blockSize)
      const min = Math.min(0, ...block)
      const max = Math.max(0, ...block)
      const extreme = -min > max ? min : max
      const scale = half(zeroPoints ? Math.fround((max - min) / top) : extreme / -(2 ** (bits - 1)))
      const point = zeroPoints ? (scale === 0 ? 0 : Math.min(top, Math.round(Math.abs(min) / scale))) : 2 ** (bits - 1)
      lineScales!.push(scale)
      linePoints!.push(point)
      for (const weight of block)
        lineCodes!.push(Math.min(top, Math.max(0, scale === 0 ? point : Math.floor(weight * (1 / scale) + (point + 0.5)))))
    }
    codes.push(lineCodes!)
    scales.push(lineScales!)
    points.push(linePoints!)
  }
  return { codes, scales, points }
}

/** Packs a row of numbers of `bits` bits into bytes, the low four bits first. */
function pack(row: readonly number[], bits: number): number[] {
  if (bits === 8) return [...row]
  return Array.from({ length: Math.ceil(row.length / 2) }, (_, i) => row[2 * i]! + 16 * (row[2 * i + 1] ?? 0))
}

const cases: QuantizeOptions[] = [4, 8].flatMap((bits) =>
  [16, 32, 64, 128].flatMap((blockSize) =>
    [false, true].map((zeroPoints) => ({ bits: bits as 4 | 8, blockSize, zeroPoints, scales: 'range' as const })),
  ),
)
const title = (o: QuantizeOptions) =>
  `int${o.bits}, blocks of ${o.blockSize}, ${o.zeroPoints === true ? 'with' : 'without'} zero points`

/** The squared error of each block of 32 weights. */
function squaredErrors(weights: Float32Array, options: QuantizeOptions): number[] {
  const layout = quantizedLayout([1, weights.length], options)
  const back = dequantizeRows(quantizeRows(weights, layout, 'x.weight'), layout)
  return Array.from({ length: weights.length / 32 }, (_, block) => {
    let error = 0
    for (let i = block * 32; i < (block + 1) * 32; i++) error += (weights[i]! - back[i]!) ** 2
    return error
  })
}

// Scales with the least squared error have tests of their own.
describe.each(cases.map((options) => [title(options), options] as const))('%s', (_, options) => {
  const [rows, columns] = [5, 384]
  const layout = quantizedLayout([rows, columns], options)
  const weights = weightsOf(rows, columns, 7)
  // A block of zeros, a block of one sign, one whose scale is subnormal in float16 and one whose scale is zero in it.
  weights.fill(0, 0, options.blockSize)
  for (let i = columns; i < columns + 128; i++) weights[i] = Math.abs(weights[i]!) + 0.01
  for (let i = 2 * columns; i < 2 * columns + 128; i++) weights[i] = weights[i]! * 1e-5
  for (let i = 3 * columns; i < 3 * columns + 128; i++) weights[i] = weights[i]! * 1e-9
  const quantized = quantizeRows(weights, layout, 'x.weight')

  it('equals the definition, bit for bit', () => {
    const expected = reference(weights, columns, options)
    expect([...quantized.codes]).toEqual(expected.codes.flatMap((row) => pack(row, options.bits)))
    expect([...float16ToFloat32(quantized.scales)]).toEqual(expected.scales.flat())
    expect([...quantized.zeroPoints]).toEqual(
      options.zeroPoints === true ? expected.points.flatMap((row) => pack(row, options.bits)) : [],
    )
  })

  it('stays within the error that rounding allows', () => {
    const back = dequantizeRows(quantized, layout)
    const scales = float16ToFloat32(quantized.scales)
    const codes = 2 ** options.bits
    for (const [i, weight] of weights.entries()) {
      const scale = Math.abs(scales[Math.floor(i / layout.blockSize)]!)
      // A weight whose code is not clipped moves by at most half a step. Without zero points, the side opposite to the extreme lacks one
      // code, so a weight there moves by up to a whole step. With zero points, rounding the zero point moves the range by up to half a
      // step, so a weight at its ends moves by up to a whole step too. Rounding the scale to float16 changes the range by `codes` · 2^-11
      // of a step, or by 2^-25 for each code where the scale is subnormal.
      const bound = scale * (1 + codes * 2 ** -11) + codes * 2 ** -25
      expect(Math.abs(weight - back[i]!)).toBeLessThanOrEqual(bound)
    }
  })

  it('gives x · Wᵀ in MatMulNBits', async () => {
    const [batch, n, k] = [3, rows, columns]
    const graph = new GraphBuilder({ dtype: 'float32', weights: 'input', granularity: 'component' })
    const inputs = [
      graph.input('x', 'float32', [batch, k]),
      graph.input('codes', 'uint8', [n, layout.blocksPerRow, layout.codeBytes / layout.blocksPerRow]),
      graph.input('scales', 'float32', [n, layout.blocksPerRow]),
      ...(layout.zeroPoints ? [graph.input('points', 'uint8', [n, layout.zeroPointBytes])] : []),
    ]
    const [y] = graph.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs,
      outputs: [{ type: 'float32', dims: [batch, n] }],
      attributes: {
        K: { kind: 'int', value: k },
        N: { kind: 'int', value: n },
        bits: { kind: 'int', value: options.bits },
        block_size: { kind: 'int', value: layout.blockSize },
      },
    })
    graph.output('y', y!)
    const session = await InferenceSession.create(graph.finish('test').model, { executionProviders: ['wasm'] })
    const x = numbers(batch * k, 3)
    const result = await session.run({
      x: new Tensor('float32', x, [batch, k]),
      codes: new Tensor('uint8', quantized.codes, inputs[1]!.dims),
      scales: new Tensor('float32', float16ToFloat32(quantized.scales), inputs[2]!.dims),
      ...(layout.zeroPoints ? { points: new Tensor('uint8', quantized.zeroPoints, inputs[3]!.dims) } : {}),
    })
    const back = dequantizeRows(quantized, layout)
    const actual = result.y!.data as Float32Array
    await session.release()
    for (let b = 0; b < batch; b++) {
      for (let row = 0; row < n; row++) {
        let sum = 0
        let size = 0
        for (let i = 0; i < k; i++) {
          const term = x[b * k + i]! * back[row * k + i]!
          sum += term
          size += Math.abs(term)
        }
        // Each term is rounded once as (code − zero point) · scale, once as a product, and at most k times in sums of any order.
        expect(Math.abs(actual[b * n + row]! - sum)).toBeLessThanOrEqual((k + 2) * 2 ** -24 * size)
      }
    }
  })
})

const sum = (errors: readonly number[]) => errors.reduce((total, error) => total + error, 0)

const byRange = { bits: 4, scales: 'range' } as const

/** How many dB lower the squared error of 4-bit weights is with scales of least squared error than with scales by range. */
const gain = (weights: Float32Array) =>
  10 * Math.log10(sum(squaredErrors(weights, byRange)) / sum(squaredErrors(weights, { bits: 4 })))

describe('int4 scales with the least squared error', () => {
  const kinds: readonly (readonly [string, Float32Array])[] = [
    ['weights with a tail', weightsOf(1, 1 << 12, 3)],
    ['weights of a flat distribution', numbers(1 << 12, 5)],
    ['one large weight in each block', numbers(1 << 12, 9).map((weight, i) => (i % 32 === 7 ? 40 * Math.sign(weight) : weight))],
    ['weights of one sign', numbers(1 << 12, 11).map(Math.abs)],
    [
      'scales that are subnormal or zero in float16',
      numbers(1 << 12, 13).map((weight, i) => weight * 2 ** -(10 + (i >> 5) / 32)),
    ],
    ['scales close to the largest float16', numbers(1 << 12, 15).map((weight) => weight * 524_000)],
    ['zeros', new Float32Array(64)],
  ]

  it.each(kinds)('no block has a larger squared error than with the scale of its range: %s', (_, weights) => {
    const [least, ranged] = [squaredErrors(weights, { bits: 4 }), squaredErrors(weights, byRange)]
    // Codes and errors are computed in float64 from float32 weights: the sums of a block differ by a few roundings.
    for (const [block, error] of least.entries()) expect(error).toBeLessThanOrEqual(ranged[block]! * (1 + 2 ** -20))
  })

  it('a block that the codes hold exactly keeps its scale and codes', () => {
    const weights = Float32Array.from({ length: 1 << 12 }, (_, i) => ((i % 16) - 8) * 2 ** ((i >> 5) % 5) * half(0.0123))
    const layout = quantizedLayout([1, weights.length], { bits: 4 })
    expect(quantizeRows(weights, layout, 'x.weight')).toEqual(
      quantizeRows(weights, quantizedLayout([1, weights.length], byRange), 'x.weight'),
    )
  })

  it('gains more than 0.6 dB for a flat distribution and 0.2 dB for one with a tail', () => {
    expect(gain(numbers(1 << 12, 5))).toBeGreaterThan(0.6)
    expect(gain(weightsOf(1, 1 << 12, 3))).toBeGreaterThan(0.2)
  })
})

describe('what is refused', () => {
  const layout = quantizedLayout([1, 32], { bits: 4 })
  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%s in a weight', (value) => {
    const weights = weightsOf(1, 32, 1)
    weights[31] = value
    expect(() => quantizeRows(weights, layout, 'a.weight')).toThrow(expect.objectContaining({ code: 'weight-not-finite' }))
  })
  it('an infinity of each sign', () => {
    const weights = weightsOf(1, 32, 1)
    weights.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    expect(() => quantizeRows(weights, layout, 'a.weight')).toThrow(expect.objectContaining({ code: 'weight-not-finite' }))
  })
  it('a weight whose scale overflows float16', () => {
    const weights = weightsOf(1, 32, 1)
    weights[3] = 8 * 65_536
    expect(() => quantizeRows(weights, layout, 'a.weight')).toThrow(expect.objectContaining({ code: 'weight-too-large' }))
  })
  it.each([
    [[4, 40], { bits: 4 }],
    [[4, 4, 32], { bits: 4 }],
    [[4, 64], { bits: 5 }],
    [[4, 64], { bits: 4, blockSize: 8 }],
  ])('a shape %j with %j', (shape, options) => {
    expect(() => quantizedLayout(shape, options as QuantizeOptions)).toThrow(
      expect.objectContaining({ code: 'quantize-options' }),
    )
  })
})

/** What the registry says about a UNet, in short. */
const sensitive = { kept: /^time_embedding\./, eightBits: /\.time_emb_proj\./ }
const entry = (name: string, shape: number[], dtype: 'F32' | 'F16' | 'U8' | 'I64' = 'F32') => ({ name, shape, dtype })

describe('which tensors', () => {
  it.each([
    ['down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight', [320, 320]],
    ['up_blocks.1.resnets.0.time_emb_proj.weight', [640, 1280]],
    ['encoder.block.3.layer.1.DenseReluDense.wo.weight', [4096, 10_240]],
    ['transformer_blocks.0.norm1.linear.weight', [9216, 1536]],
  ])('quantizes %s', (name, shape) => expect(isQuantizable(entry(name, shape), { bits: 4, sensitive })).toBe(true))
  it.each([
    ['an embedding', entry('text_model.embeddings.token_embedding.weight', [49_408, 768])],
    ['T5’s shared table', entry('shared.weight', [32_128, 4096])],
    ['T5’s position bias', entry('encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight', [32, 64])],
    ['a convolution', entry('conv_in.weight', [320, 4, 3, 3])],
    ['a 1×1 convolution', entry('proj_in.weight', [320, 320, 1, 1])],
    ['a norm', entry('norm.weight', [320])],
    ['the time embedding', entry('time_embedding.linear_1.weight', [1280, 320])],
    ['columns that blocks do not divide', entry('to_q.weight', [40, 40])],
    ['integers', entry('to_q.weight', [64, 64], 'I64')],
    ['what is quantized already', entry('to_q.weight', [64, 64], 'U8')],
    ['a table without the name of a weight', entry('pos_embed', [64, 64])],
  ])('keeps %s', (_, kept) => expect(isQuantizable(kept, { bits: 4, sensitive })).toBe(false))
})
