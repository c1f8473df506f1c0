/**
 * How exact each operator is on the GPU, at the sizes of published networks: up to 23,040 terms in one sum. Rounding each result to float16 costs
 * a relative error of 2.1e-4 (root mean square); onnxruntime's own kernels, which sum in float16, reach 1e-2 to 2e-2. The CPU
 * computes the expected values in float32.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as math from '../../../onnx/ops-math.js'
import * as network from '../../../onnx/ops-network.js'
import * as shape from '../../../onnx/ops-shape.js'
import { compute, normals, randomTensor, relativeError, type OperatorCase } from '../../../onnx/testing-operators.js'
import type { Device } from '../../device.js'
import { openDevice } from '../../open-device.js'
import type { HostTensor } from '../../types.js'
import type { DeviceInfo, KernelSource } from '../../../memory/device-info.js'
import { replaceMethod } from '../testing-gpu.js'
import { rewriteKernel } from './kernel-layer.js'
import {
  attention,
  attentionOfTwo,
  conv,
  convAndRelu,
  gatedProduct,
  gemm,
  groupNorm,
  matMul,
  modulatedNorm,
  normOfTwo,
  operator,
  productAndSum,
  quantized,
  random,
  required,
  rotary,
  scaledFeedForward,
  threeProducts,
  unary,
} from './testing-accuracy.js'
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
  'Conv 3 × 3 of 320 channels and Relu': [convAndRelu(320, 64)],
  'Conv 3 × 3 of 320 channels to 3, and Relu': [convAndRelu(320, 3)],
  'RotaryEmbedding of neighbours': [rotary(77, 4, 64, true)],
  'RotaryEmbedding of halves': [rotary(77, 4, 64, false)],
  // With more columns, the kernel would exceed the 65,535 loop iterations that Mesa's software GPU allows.
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
  // Two roundings: √2 · 2.1e-4, and a tenth more because the error depends on where numbers are between powers of two. PyTorch rounds three times.
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
      // Adding −2 to a row's number is exact in float16: the sum is nearer to 0 than the row's number, and float16 is at least as fine
      // there.
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

/** A product that two operations read: a sum and another product. No network of this library has one (models/joint-steps.test.ts). */
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
      'BiasSplitGelu ComputeChannelScaleShift Conv2dMM FlashAttention FlashAttentionDecodeQKV FlashAttentionDecodeVxReduce Gelu Gemm InstanceNorm LayerNorm MatMul MatMulNBits MatMulNBitsWideTile QuickGelu RotaryEmbedding SkipLayerNorm Softmax',
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
