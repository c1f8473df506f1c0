/** The operators whose accuracy is tested, at the sizes of published networks (accuracy.browser.test.ts). */

import * as math from '../../../onnx/ops-math.js'
import * as network from '../../../onnx/ops-network.js'
import * as shape from '../../../onnx/ops-shape.js'
import { randomBytes, randomTensor, type OperatorCase } from '../../../onnx/testing-operators.js'
import type { GraphBuilder } from '../../../onnx/graph-builder.js'
import type { ValueInfo } from '../../../onnx/types.js'
import type { HostTensor } from '../../types.js'

export function operator(
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

export function random(...sizes: readonly (readonly number[])[]): HostTensor[] {
  return sizes.map((dims, index) => randomTensor(dims, index))
}

export function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('The case has too few inputs')
  return value
}

export function gemm(rows: number, columns: number, outputs: number): OperatorCase {
  return operator(random([rows, columns], [outputs, columns], [outputs]), (graph, [x, weight, bias]) =>
    network.gemm(graph, required(x), required(weight), bias),
  )
}

export function matMul(a: readonly number[], b: readonly number[]): OperatorCase {
  return operator(random(a, b), (graph, [x, y]) => math.matMul(graph, required(x), required(y)))
}

export function conv(inputs: number, outputs: number, kernel: number): OperatorCase {
  const pad = (kernel - 1) / 2
  return operator(random([1, inputs, 8, 8], [outputs, inputs, kernel, kernel], [outputs]), (graph, [x, weight, bias]) =>
    network.conv(graph, required(x), required(weight), bias, { pads: [pad, pad, pad, pad] }),
  )
}

/** A convolution and Relu, which onnxruntime computes in one kernel. */
export function convAndRelu(inputs: number, outputs: number): OperatorCase {
  const tensors = random([1, inputs, 8, 8], [outputs, inputs, 3, 3], [outputs])
  return operator(tensors, (graph, [x, weight, bias]) =>
    math.relu(graph, network.conv(graph, required(x), required(weight), bias, { pads: [1, 1, 1, 1] })),
  )
}

/** Rotary position embedding: pairs of values in each head are rotated. */
export function rotary(tokens: number, heads: number, size: number, interleaved: boolean): OperatorCase {
  const tensors = random([1, tokens, heads * size], [tokens, size / 2], [tokens, size / 2])
  return operator(tensors, (graph, [x, cos, sin]) =>
    network.rotaryEmbedding(graph, required(x), { cos: required(cos), sin: required(sin), interleaved }),
  )
}

export function attention(heads: number, size: number, tokens: number, keys: number): OperatorCase {
  const width = heads * size
  return operator(random([1, tokens, width], [1, keys, width], [1, keys, width]), (graph, [query, key, value]) =>
    network.multiHeadAttention(graph, { query: required(query), key: required(key), value: required(value) }, heads),
  )
}

/** An attention over the joined tokens of two inputs, like image and text in SD3. The result has the second input's tokens first. */
export function attentionOfTwo(heads: number, size: number, tokens: readonly [number, number]): OperatorCase {
  const parts = tokens.map((count) => [2, count, heads * size])
  return operator(random(...parts, ...parts, ...parts), (graph, given) => {
    const joined = (first: number) => shape.concat(graph, [required(given[first]), required(given[first + 1])], 1)
    const attended = network.multiHeadAttention(graph, { query: joined(0), key: joined(2), value: joined(4) }, heads)
    return shape.concat(graph, shape.split(graph, attended, tokens, 1).toReversed(), 1)
  })
}

/** Three products of one input, as for queries, keys and values, concatenated along the columns. */
export function threeProducts(rows: number, width: number, withBias: boolean): OperatorCase {
  const weights = [0, 1, 2].map(() => [width, width])
  const biases = withBias ? [0, 1, 2].map(() => [width]) : []
  return operator(random([rows, width], ...weights, ...biases), (graph, [x, ...given]) => {
    const products = [0, 1, 2].map((i) => network.gemm(graph, required(x), required(given[i]), given[3 + i]))
    return shape.concat(graph, products, 1)
  })
}

/** A product that is added to a residual, as at the end of a feed-forward. */
export function productAndSum(rows: number, columns: number, outputs: number, withBias: boolean): OperatorCase {
  const tensors = random([2 * rows, columns], [outputs, columns], [2, rows, outputs], ...(withBias ? [[outputs]] : []))
  return operator(tensors, (graph, [x, weight, residual, bias]) => {
    const product = network.gemm(graph, required(x), required(weight), bias)
    return math.add(graph, shape.reshape(graph, product, [2, rows, outputs]), required(residual))
  })
}

/** Casts a value to float32, the type of residual streams and of what is added to them. */
function wide(graph: GraphBuilder, value: ValueInfo | undefined): ValueInfo {
  return shape.cast(graph, required(value), 'float32')
}

/** A product for a batch of two. In float32, its result is multiplied by a gate and added to the residual, as after an attention. */
export function gatedProduct(rows: number, columns: number, outputs: number): OperatorCase {
  const tensors = random([2 * rows, columns], [outputs, columns], [outputs], [2, 1, outputs], [2, rows, outputs])
  return operator(tensors, (graph, [x, weight, bias, gate, residual]) => {
    const product = shape.reshape(graph, network.gemm(graph, required(x), required(weight), bias), [2, rows, outputs])
    return math.add(graph, wide(graph, residual), math.mul(graph, wide(graph, product), wide(graph, gate)))
  })
}

/**
 * Two products with Gelu between them. The second product's input and result are scaled and its bias is added afterwards, as in a
 * feed-forward whose results are large.
 */
export function scaledFeedForward(rows: number, width: number, inner: number): OperatorCase {
  const tensors = random([rows, width], [inner, width], [inner], [width, inner], [width])
  return operator(tensors, (graph, [x, first, bias, second, added]) => {
    const hidden = math.gelu(graph, network.gemm(graph, required(x), required(first), bias), 'tanh')
    const product = network.gemm(graph, math.scale(graph, hidden, 2 ** -4), required(second))
    return math.add(graph, math.scale(graph, wide(graph, product), 16), wide(graph, added))
  })
}

/** A norm of a residual stream in float32. Each entry of the batch has its own factor and shift, which are applied to the result. */
export function modulatedNorm(rows: number, width: number, norm: 'layer' | 'root-mean-square'): OperatorCase {
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

/** A norm that two Mul operators read as their second operand, so that the kernel must write the norm's result. */
export function normOfTwo(rows: number, width: number): OperatorCase {
  const tensors = random([2, rows, width], [width], [2, 1, width], [2, 1, width])
  return operator(tensors, (graph, [x, weight, one, two]) => {
    const normed = network.layerNormalization(graph, required(x), required(weight), undefined, 1e-6)
    return shape.concat(graph, [math.mul(graph, required(one), normed), math.mul(graph, required(two), normed)], 1)
  })
}

/** A group norm of images, followed by SiLU and a convolution, or by a Transpose to tokens. */
export function groupNorm(
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

export function quantized(rows: number, columns: number, outputs: number, bits: number): OperatorCase {
  const blocks = columns / 32
  const scales = randomTensor([outputs, blocks], 3, 0.02)
  const codes = randomBytes([outputs, blocks, 4 * bits], 2)
  return operator([...random([rows, columns]), codes, scales], (graph, [x, weight, scale]) =>
    network.matMulNBits(graph, required(x), { codes: required(weight), scales: required(scale), zeroPoints: undefined }),
  )
}

export function unary(dims: readonly number[], call: (graph: GraphBuilder, x: ValueInfo) => ValueInfo): OperatorCase {
  return operator(random(dims), (graph, [x]) => call(graph, required(x)))
}
