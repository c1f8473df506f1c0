/**
 * How exact each operator is on the GPU, at the sizes of published networks: up to 20,480 terms in one sum. Rounding each result to float16 costs
 * a relative error of 2.1e-4 (root mean square); onnxruntime's own kernels, which sum in float16, reach 1e-2 to 2e-2. The CPU
 * computes the expected values in float32.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as math from '../../../onnx/ops-math.js'
import * as network from '../../../onnx/ops-network.js'
import * as shape from '../../../onnx/ops-shape.js'
import { compute, normals, randomBytes, randomTensor, relativeError, type OperatorCase } from '../../../onnx/testing-operators.js'
import type { GraphBuilder } from '../../../onnx/graph-builder.js'
import type { ValueInfo } from '../../../onnx/types.js'
import type { Device } from '../../device.js'
import { openDevice } from '../../open-device.js'
import type { HostTensor } from '../../types.js'
import type { DeviceInfo, KernelSource } from '../../../memory/device-info.js'
import { replaceMethod } from '../testing-gpu.js'
import { rewriteKernel } from './kernel-layer.js'
import { elementCount } from '../../../util/element-count.js'
import { float16ToFloat32, float32ToFloat16 } from '../../../util/half.js'

let cpu: Device
let gpu: Device
beforeAll(async () => {
  gpu = await openDevice({ kind: 'webgpu' })
  cpu = await openDevice({ kind: 'wasm' })
})
afterAll(async () => {
  await gpu.dispose()
  await cpu.dispose()
})

function operator(
  tensors: readonly HostTensor[],
  body: (graph: GraphBuilder, inputs: readonly ValueInfo[]) => ValueInfo,
): OperatorCase {
  const names = tensors.map((_, index) => `x${index}`)
  return {
    inputs: Object.fromEntries(tensors.map((tensor, index) => [`x${index}`, tensor])),
    body: (graph, inputs) => ({
      y: body(
        graph,
        names.flatMap((name) => inputs[name] ?? []),
      ),
    }),
  }
}

function random(...sizes: readonly (readonly number[])[]): HostTensor[] {
  return sizes.map((dims, index) => randomTensor(dims, index))
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('The case has too few inputs')
  return value
}

function gemm(rows: number, columns: number, outputs: number): OperatorCase {
  return operator(random([rows, columns], [outputs, columns], [outputs]), (graph, [x, weight, bias]) =>
    network.gemm(graph, required(x), required(weight), bias),
  )
}

function matMul(a: readonly number[], b: readonly number[]): OperatorCase {
  return operator(random(a, b), (graph, [x, y]) => math.matMul(graph, required(x), required(y)))
}

function conv(inputs: number, outputs: number, kernel: number): OperatorCase {
  const pad = (kernel - 1) / 2
  return operator(random([1, inputs, 8, 8], [outputs, inputs, kernel, kernel], [outputs]), (graph, [x, weight, bias]) =>
    network.conv(graph, required(x), required(weight), bias, { pads: [pad, pad, pad, pad] }),
  )
}

function attention(heads: number, size: number, tokens: number, keys: number): OperatorCase {
  const width = heads * size
  return operator(random([1, tokens, width], [1, keys, width], [1, keys, width]), (graph, [query, key, value]) =>
    network.multiHeadAttention(graph, { query: required(query), key: required(key), value: required(value) }, heads),
  )
}

/** An attention to the tokens of two parts together, as in SD3. The result has the parts in the other order. */
function attentionOfTwo(heads: number, size: number, tokens: readonly [number, number]): OperatorCase {
  const parts = tokens.map((count) => [2, count, heads * size])
  return operator(random(...parts, ...parts, ...parts), (graph, given) => {
    const joined = (first: number) => shape.concat(graph, [required(given[first]), required(given[first + 1])], 1)
    const attended = network.multiHeadAttention(graph, { query: joined(0), key: joined(2), value: joined(4) }, heads)
    return shape.concat(graph, shape.split(graph, attended, tokens, 1).toReversed(), 1)
  })
}

/** Three products of one input, as queries, keys and values are, side by side. */
function threeProducts(rows: number, width: number, withBias: boolean): OperatorCase {
  const weights = [0, 1, 2].map(() => [width, width])
  const biases = withBias ? [0, 1, 2].map(() => [width]) : []
  return operator(random([rows, width], ...weights, ...biases), (graph, [x, ...given]) => {
    const products = [0, 1, 2].map((i) => network.gemm(graph, required(x), required(given[i]), given[3 + i]))
    return shape.concat(graph, products, 1)
  })
}

/** A product and the sum of its result with another value, as after a feed-forward. */
function productAndSum(rows: number, columns: number, outputs: number, withBias: boolean): OperatorCase {
  const tensors = random([2 * rows, columns], [outputs, columns], [2, rows, outputs], ...(withBias ? [[outputs]] : []))
  return operator(tensors, (graph, [x, weight, residual, bias]) => {
    const product = network.gemm(graph, required(x), required(weight), bias)
    return math.add(graph, shape.reshape(graph, product, [2, rows, outputs]), required(residual))
  })
}

/** A value in float32, as residual streams and what is added to them are. */
function wide(graph: GraphBuilder, value: ValueInfo | undefined): ValueInfo {
  return shape.cast(graph, required(value), 'float32')
}

/** A product of two rows of a batch, its gate and the residual sum in float32, as after an attention. */
function gatedProduct(rows: number, columns: number, outputs: number): OperatorCase {
  const tensors = random([2 * rows, columns], [outputs, columns], [outputs], [2, 1, outputs], [2, rows, outputs])
  return operator(tensors, (graph, [x, weight, bias, gate, residual]) => {
    const product = shape.reshape(graph, network.gemm(graph, required(x), required(weight), bias), [2, rows, outputs])
    return math.add(graph, wide(graph, residual), math.mul(graph, wide(graph, product), wide(graph, gate)))
  })
}

/** Products, whose inputs and results are scaled, with Gelu and a bias that is added later, as in a feed-forward whose results are large. */
function scaledFeedForward(rows: number, width: number, inner: number): OperatorCase {
  const tensors = random([rows, width], [inner, width], [inner], [width, inner], [width])
  return operator(tensors, (graph, [x, first, bias, second, added]) => {
    const hidden = math.gelu(graph, network.gemm(graph, required(x), required(first), bias), 'tanh')
    const product = network.gemm(graph, math.scale(graph, hidden, 2 ** -4), required(second))
    return math.add(graph, math.scale(graph, wide(graph, product), 16), wide(graph, added))
  })
}

/** A norm of a residual stream in float32, and for each row of a batch a factor and a summand. */
function modulatedNorm(rows: number, width: number, norm: 'layer' | 'root-mean-square'): OperatorCase {
  const tensors = random([2, rows, width], [width], [2, 1, width], [2, 1, width])
  return operator(tensors, (graph, [x, weight, factor, shift]) => {
    const normed =
      norm === 'layer'
        ? network.layerNormalization(graph, wide(graph, x), wide(graph, weight), undefined, 1e-6)
        : network.rmsNormalization(graph, wide(graph, x), wide(graph, weight), 1e-6)
    const modulated = math.add(graph, math.mul(graph, normed, wide(graph, factor)), wide(graph, shift))
    return shape.cast(graph, modulated, graph.options.dtype)
  })
}

/** A norm that two products read: as their second operand, so that it is written. */
function normOfTwo(rows: number, width: number): OperatorCase {
  const tensors = random([2, rows, width], [width], [2, 1, width], [2, 1, width])
  return operator(tensors, (graph, [x, weight, one, two]) => {
    const normed = network.layerNormalization(graph, required(x), required(weight), undefined, 1e-6)
    return shape.concat(graph, [math.mul(graph, required(one), normed), math.mul(graph, required(two), normed)], 1)
  })
}

/** A group norm of images, followed by SiLU and a convolution, or by a Transpose to tokens. */
function groupNorm(
  [images, channels, edge]: readonly [number, number, number],
  next: 'SiLU' | 'SiLU and convolution' | 'tokens',
  groups = 32,
): OperatorCase {
  const image = [images, channels, edge, edge] as const
  const tensors = random(image, [channels, 1, 1], [channels, 1, 1], [64, channels, 3, 3])
  return operator(tensors, (graph, [x, weight, bias, kernel]) => {
    const grouped = shape.reshape(graph, required(x), [images, groups, (channels / groups) * edge * edge])
    const normed = shape.reshape(graph, network.instanceNormalization(graph, grouped, 1e-5), image)
    const scaled = math.add(graph, math.mul(graph, normed, required(weight)), required(bias))
    if (next === 'SiLU') return math.silu(graph, scaled)
    if (next === 'SiLU and convolution')
      return network.conv(graph, math.silu(graph, scaled), required(kernel), undefined, { pads: [1, 1, 1, 1] })
    return shape.transpose(graph, shape.reshape(graph, scaled, [images, channels, edge * edge]), [0, 2, 1])
  })
}

function quantized(rows: number, columns: number, outputs: number, bits: number): OperatorCase {
  const blocks = columns / 32
  const scales = randomTensor([outputs, blocks], 3, 0.02)
  const codes = randomBytes([outputs, blocks, 4 * bits], 2)
  return operator([...random([rows, columns]), codes, scales], (graph, [x, weight, scale]) =>
    network.matMulNBits(graph, required(x), { codes: required(weight), scales: required(scale), zeroPoints: undefined }),
  )
}

function unary(dims: readonly number[], call: (graph: GraphBuilder, x: ValueInfo) => ValueInfo): OperatorCase {
  return operator(random(dims), (graph, [x]) => call(graph, required(x)))
}

/** The cases by name. The second number is the largest allowed error in float16, where a float16 buffer between two kernels adds a rounding to that of the result. */
const cases: Readonly<Record<string, readonly [OperatorCase, number?]>> = {
  'Gemm of 320': [gemm(77, 320, 64)],
  'Gemm of 5,120': [gemm(33, 5120, 64)],
  'Gemm of 20,480': [gemm(8, 20480, 64)],
  'Gemm of 1,281': [gemm(77, 1281, 322)],
  'Gemm of 1,280, with 322 results': [gemm(77, 1280, 322)],
  'Gemm of one row': [gemm(1, 1280, 320)],
  'MatMul of 4,096': [matMul([1, 64, 4096], [1, 4096, 64])],
  'MatMul of 20,480': [matMul([1, 8, 20480], [1, 20480, 64])],
  'MatMul of 1,280, with 322 results': [matMul([77, 1280], [1280, 322])],
  'MatMul of 513': [matMul([2, 77, 513], [2, 513, 33])],
  'Conv 3 × 3 of 4 channels': [conv(4, 320, 3)],
  'Conv 3 × 3 of 320 channels': [conv(320, 64, 3)],
  'Conv 3 × 3 of 2,560 channels': [conv(2560, 32, 3)],
  'Conv 3 × 3 of 320 channels to 3': [conv(320, 3, 3)],
  'Conv 3 × 3 of 321 channels': [conv(321, 64, 3)],
  'Conv 1 × 1 of 2,560 channels': [conv(2560, 320, 1)],
  'Conv 1 × 1 of 321 channels': [conv(321, 65, 1)],
  // More columns would exceed the 65,535 iterations that Mesa's software GPU gives the loops of a kernel.
  'MatMulNBits, 8 bits, of 10,240': [quantized(8, 10240, 64, 8)],
  'MatMulNBits, 4 bits, of 5,120': [quantized(77, 5120, 64, 4)],
  'MatMulNBits, 8 bits, one row': [quantized(1, 1280, 320, 8)],
  'attention of 40': [attention(8, 40, 256, 77)],
  'attention of 64 to itself': [attention(2, 64, 1024, 1024)],
  'attention of 160': [attention(2, 160, 64, 64)],
  'attention of 16 queries': [attention(4, 64, 16, 77)],
  'attention of one query': [attention(2, 40, 1, 130)],
  'attention of two parts': [attentionOfTwo(3, 40, [61, 77])],
  'three products of one input': [threeProducts(77, 320, false)],
  'three products of one input, with bias': [threeProducts(77, 322, true)],
  'a product of 20,480 terms and a sum': [productAndSum(8, 20480, 64, true)],
  'a product of 1,280 terms with 322 results, and a sum': [productAndSum(77, 1280, 322, true)],
  'a product of 1,281 terms and a sum': [productAndSum(77, 1281, 322, true)],
  'a product without bias and a sum': [productAndSum(77, 320, 64, false)],
  'a product, its gates and a sum': [gatedProduct(77, 320, 64)],
  'a product of odd width, its gates and a sum': [gatedProduct(77, 323, 321)],
  'a product in larger tiles': [gemm(133, 324, 1032)],
  'a product in larger tiles, its gates and a sum': [gatedProduct(333, 1284, 256)],
  'a feed-forward whose products are scaled': [scaledFeedForward(154, 320, 1280)],
  'a modulated LayerNormalization': [modulatedNorm(77, 320, 'layer')],
  'a modulated root-mean-square normalization': [modulatedNorm(61, 1281, 'root-mean-square')],
  'a LayerNormalization that two products read': [normOfTwo(77, 320)],
  // Two roundings: √2 · 2.1e-4, and a tenth for the places of the numbers between powers of two. PyTorch rounds three times.
  'group norm, SiLU, convolution': [groupNorm([2, 96, 12], 'SiLU and convolution'), 3.3e-4],
  'group norm and SiLU': [groupNorm([2, 96, 12], 'SiLU')],
  'group norm of tokens': [groupNorm([2, 320, 8], 'tokens')],
  // The image has more tiles of 16 pixels than a device allows workgroups along an axis.
  'group norm of more tokens than one grid can have': [groupNorm([1, 4, 1024], 'tokens', 2)],
  // Head sizes that are no multiple of 4.
  'attention of 30': [attention(2, 30, 77, 77)],
  'attention of 77': [attention(3, 77, 130, 77)],
  'attention of 15, one query': [attention(2, 15, 1, 130)],
  'Softmax of 4,096': [unary([1, 64, 4096], math.softmax)],
  'Softmax of 77': [unary([1, 64, 77], math.softmax)],
  SiLU: [unary([77, 321], math.silu)],
  QuickGelu: [unary([77, 320], (graph, x) => math.quickGelu(graph, x))],
  Gelu: [unary([77, 320], (graph, x) => math.gelu(graph, x))],
  'Gelu by tanh': [unary([77, 320], (graph, x) => math.gelu(graph, x, 'tanh'))],
  LayerNormalization: [
    operator(random([77, 1280], [1280], [1280]), (graph, [x, weight, bias]) =>
      network.layerNormalization(graph, required(x), required(weight), bias, 1e-5),
    ),
  ],
  'a sum and its LayerNormalization': [
    operator(random([77, 1280], [77, 1280], [1280], [1280]), (graph, [x, skip, weight, bias]) => {
      const parameters = { weight: required(weight), bias: required(bias), epsilon: 1e-5 }
      return network.skipLayerNormalization(graph, required(x), required(skip), parameters).normed
    }),
  ],
  'root-mean-square normalization': [
    operator(random([77, 4097], [4097]), (graph, [x, weight]) =>
      network.rmsNormalization(graph, required(x), required(weight), 1e-6),
    ),
  ],
  GEGLU: [operator(random([77, 2560], [2560]), (graph, [x, bias]) => network.geglu(graph, required(x), required(bias)))],
  InstanceNormalization: [unary([2, 32, 10240], (graph, x) => network.instanceNormalization(graph, x, 1e-5))],
}

/** The largest error of any result of a case, relative to the result. */
async function errorOf(operators: OperatorCase, dtype: 'float32' | 'float16' = 'float32'): Promise<number> {
  const expected = await compute(cpu, operators)
  const actual = await compute(gpu, operators, dtype)
  return Math.max(...Object.entries(expected).map(([name, values]) => relativeError(actual[name], values)))
}

/** Numbers around a mean, with a standard deviation of 1, each exact in float16. */
function around(mean: number, dims: readonly number[], seed: number): HostTensor {
  const values = normals(elementCount(dims), seed).map((value) => value + mean)
  return { type: 'float32', dims, data: float16ToFloat32(float32ToFloat16(values)) }
}

test.each([30, 200])('norms of numbers around %d are exact', async (mean) => {
  const operators: OperatorCase = {
    inputs: {
      image: around(mean, [2, 8, 320], 1),
      rows: around(mean, [16, 320], 2),
      // A sum with this number is exact in float16, because it is nearer to 0.
      skip: { ...randomTensor([16, 320], 3), data: Float32Array.from({ length: 16 * 320 }, () => -2) },
      weight: randomTensor([320], 4),
      bias: randomTensor([320], 5),
    },
    body: (graph, inputs) => {
      const [rows, weight, bias] = [required(inputs['rows']), required(inputs['weight']), required(inputs['bias'])]
      return {
        instance: network.instanceNormalization(graph, required(inputs['image']), 1e-5),
        layer: network.layerNormalization(graph, rows, weight, bias, 1e-5),
        ofSum: network.skipLayerNormalization(graph, rows, required(inputs['skip']), { weight, bias, epsilon: 1e-5 }).normed,
      }
    },
  }
  // A norm computes with a few numbers as large as the mean, each rounded.
  expect(await errorOf(operators)).toBeLessThan(8 * mean * 2 ** -24)
  if (gpu.info.shaderF16) expect(await errorOf(operators, 'float16')).toBeLessThan(3e-4)
})

const threeEpsilons: OperatorCase['body'] = (graph, { x }) => ({
  resnet: network.instanceNormalization(graph, required(x), 1e-5),
  transformer: network.instanceNormalization(graph, required(x), 1e-6),
  smaller: network.instanceNormalization(graph, required(x), 1e-8),
})

// onnxruntime's own kernel uses the first epsilon for all norms.
test('each norm of a network has its own epsilon', async () => {
  expect(await errorOf({ inputs: { x: randomTensor([2, 8, 128], 1, 1e-3) }, body: threeEpsilons })).toBeLessThan(1e-6)
})

for (const [name, [operators, most = 3e-4]] of Object.entries(cases))
  test(name, async () => {
    const { y: expected = new Float32Array() } = await compute(cpu, operators)
    // float32: 23,040 terms, each with a rounding of 2^-24.
    expect(relativeError((await compute(gpu, operators)).y, expected)).toBeLessThan(5e-6)
    if (gpu.info.shaderF16) expect(relativeError((await compute(gpu, operators, 'float16')).y, expected)).toBeLessThan(most)
  })

/** A product that is read beside its sum: no network of this library has one (models/joint-steps.test.ts). */
const readBesideItsSum: OperatorCase['body'] = (graph, { x0, x1, x2 }) => {
  const product = shape.reshape(graph, network.gemm(graph, required(x0), required(x1)), [2, 8, 64])
  return { y: math.mul(graph, math.add(graph, product, required(x2)), product) }
}

test('a run fails if a kernel reads a product that the joint kernel of product and sum has not written', async () => {
  const { inputs } = productAndSum(8, 64, 64, false)
  await expect(compute(gpu, { inputs, body: readBesideItsSum })).rejects.toThrow(
    'reads a value that a kernel of Aquatint does not write',
  )
})

/** Kernels that replace several of onnxruntime's. */
const joint = [
  'Attention of few queries',
  'FlashAttention in place',
  'FlashAttention of two parts',
  'Gemm and steps',
  'Gemm in larger tiles',
  'Gemm of 3',
  'GroupNorm',
  'GroupNorm to channels last',
  'LayerNorm and steps',
]

test('every kernel is recognized, and so is every sequence that one kernel replaces', () => {
  expect(gpu.info.kernels.unrecognized).toEqual([])
  expect(joint.filter((label) => !gpu.info.kernels.replaced.includes(label))).toEqual([])
  if (gpu.info.shaderF16)
    expect(
      gpu.info.kernels.replaced
        .filter((label) => !joint.includes(label) && label !== 'Gemm of 2')
        .toSorted()
        .join(' '),
    ).toBe(
      'BiasSplitGelu ComputeChannelScaleShift Conv2dMM FlashAttention FlashAttentionDecodeQKV FlashAttentionDecodeVxReduce Gelu Gemm InstanceNorm LayerNorm MatMul MatMulNBits MatMulNBitsWideTile QuickGelu SkipLayerNorm Softmax',
    )
})

/** The WGSL sources of the Gemm kernels that a new device compiles. */
async function gemmTexts(kernels: KernelSource): Promise<{ readonly device: DeviceInfo; readonly texts: readonly string[] }> {
  const texts: string[] = []
  const end = replaceMethod(
    GPUDevice.prototype,
    'createShaderModule',
    (compile) =>
      function (this: GPUDevice, descriptor) {
        if (descriptor.label === 'Gemm') texts.push(descriptor.code)
        return compile.call(this, descriptor)
      },
  )
  const device = await openDevice({ kind: 'webgpu', kernels })
  try {
    await compute(device, gemm(77, 320, 64), 'float16')
    return { device: device.info, texts }
  } finally {
    end()
    await device.dispose()
  }
}

test('with kernels: onnxruntime, the device compiles what onnxruntime wrote', async ({ skip }) => {
  const own = await gemmTexts('aquatint')
  const theirs = await gemmTexts('onnxruntime')
  expect(theirs.device.kernels).toEqual({ source: 'onnxruntime', replaced: [], unrecognized: [] })
  expect(theirs.texts.length).toBe(own.texts.length)
  // In float32, the two devices compile the same source.
  if (!gpu.info.shaderF16) return skip('This GPU has no shader-f16.')
  expect(own.device.kernels).toMatchObject({ source: 'aquatint', replaced: ['Gemm'] })
  for (const [i, text] of theirs.texts.entries()) {
    expect(rewriteKernel('Gemm', text)).toEqual({ code: own.texts[i], outcome: 'replaced' })
    expect(text).not.toBe(own.texts[i])
  }
})
