/**
 * ONNX operators with weights, and attention: one function each. They use only operators that onnxruntime-web's native WebGPU provider
 * runs on the GPU (no GroupNormalization, no ai.onnx Attention).
 */

import { InputError } from '../errors.js'
import { constantVector, integers } from './constants.js'
import type { GraphBuilder } from './graph-builder.js'
import { longestSum, normalizeInParts } from './norm-in-parts.js'
import { add, gelu, mul } from './ops-math.js'
import { dimension, padEnd, reshape, slice, split } from './ops-shape.js'
import type { ValueInfo } from './types.js'

function single(values: readonly ValueInfo[]): ValueInfo {
  const [value] = values
  if (value === undefined) throw new Error('A node has no outputs')
  return value
}

/** x · weightᵀ + bias, for x [rows, in], weight [out, in] as PyTorch's Linear stores it, and bias [out]. */
export function gemm(graph: GraphBuilder, x: ValueInfo, weight: ValueInfo, bias?: ValueInfo): ValueInfo {
  if (x.dims.length !== 2 || x.dims[1] !== weight.dims[1]) {
    throw new Error(`Gemm cannot multiply [${x.dims.join()}] by the weight [${weight.dims.join()}]`)
  }
  return single(
    graph.node({
      op: 'Gemm',
      inputs: bias === undefined ? [x, weight] : [x, weight, bias],
      outputs: [{ type: x.type, dims: [dimension(x, 0), dimension(weight, 0)] }],
      attributes: { transB: { kind: 'int', value: 1 } },
    }),
  )
}

/** Padding of a convolution: top, left, bottom, right. */
export type Pads = readonly [number, number, number, number]

/**
 * How many channels of zeros a convolution's input needs. The WebGPU kernel of onnxruntime 1.30.0 computes wrong values for kernels
 * above 1 × 1 if the input channels are divisible by 3 and not by 4, are more than 3, and the output channels are divisible by 4: its im2col
 * reads vectors of 3 and its inner loop takes vectors of 4. Zeros up to a multiple of 4 select the right kernel and leave the sums as they are.
 */
function missingChannels(graph: GraphBuilder, weight: ValueInfo): number {
  const [outputs, inputs, kernel] = [dimension(weight, 0), dimension(weight, 1), dimension(weight, 2) * dimension(weight, 3)]
  const isWrong = kernel > 1 && inputs > 3 && inputs % 3 === 0 && inputs % 4 !== 0 && outputs % 4 === 0
  return graph.options.weights === 'input' && isWrong ? 4 - (inputs % 4) : 0
}

/** 2D convolution of [batch, in, height, width] with weight [out, in, rows, columns] and bias [out]. @throws InputError `invalid-shape` if the result would be empty */
export function conv(
  graph: GraphBuilder,
  x: ValueInfo,
  weight: ValueInfo,
  bias: ValueInfo | undefined,
  options: { readonly stride?: number; readonly pads?: Pads } = {},
): ValueInfo {
  const stride = options.stride ?? 1
  const pads = options.pads ?? [0, 0, 0, 0]
  if (dimension(x, 1) !== dimension(weight, 1))
    throw new Error(`Conv cannot apply the weight [${weight.dims.join()}] to [${x.dims.join()}]`)
  const size = (axis: 2 | 3, before: number, after: number) =>
    Math.floor((dimension(x, axis) + before + after - dimension(weight, axis)) / stride) + 1
  const dims = [dimension(x, 0), dimension(weight, 0), size(2, pads[0], pads[2]), size(3, pads[1], pads[3])]
  if (dims.some((dim) => dim < 1)) {
    const message = `An image of [${x.dims.join(', ')}] is too small for a convolution of ${weight.dims.slice(2).join(' × ')}`
    throw new InputError('invalid-shape', message, { image: x.dims, kernel: weight.dims.slice(2) })
  }
  const zeros = missingChannels(graph, weight)
  const operands = [padEnd(graph, x, 1, zeros), padEnd(graph, weight, 1, zeros)]
  return single(
    graph.node({
      op: 'Conv',
      inputs: bias === undefined ? operands : [...operands, bias],
      outputs: [{ type: x.type, dims }],
      attributes: {
        kernel_shape: { kind: 'ints', value: weight.dims.slice(2) },
        strides: { kind: 'ints', value: [stride, stride] },
        pads: { kind: 'ints', value: pads },
      },
    }),
  )
}

/**
 * Normalizes each row of [batch, rows, length] to mean 0 and variance 1, without scale and bias. With the option `epsilonInBias`, the
 * node's bias contains the epsilon, because the device's kernel reads it there. With `sumsInParts`, long rows are normalized in parts
 * (norm-in-parts.ts).
 */
export function instanceNormalization(graph: GraphBuilder, x: ValueInfo, epsilon: number): ValueInfo {
  if (graph.options.sumsInParts === true && dimension(x, 2) > longestSum) return normalizeInParts(graph, x, epsilon)
  const rows = dimension(x, 1)
  const ones = constantVector(graph, rows, 1)
  const bias = constantVector(graph, rows, epsilon * (graph.options.epsilonInBias ?? 0))
  return single(
    graph.node({
      op: 'InstanceNormalization',
      inputs: [x, ones, bias],
      outputs: [{ type: x.type, dims: x.dims }],
      attributes: { epsilon: { kind: 'float', value: epsilon } },
    }),
  )
}

/** x [batch, channels, …] · weight + bias, both [channels]: a BatchNormalization with mean 0 and variance 1. */
export function scaleChannels(graph: GraphBuilder, x: ValueInfo, weight: ValueInfo, bias: ValueInfo): ValueInfo {
  const statistic = (value: number) => constantVector(graph, dimension(x, 1), value)
  return single(
    graph.node({
      op: 'BatchNormalization',
      inputs: [x, weight, bias, statistic(0), statistic(1)],
      outputs: [{ type: x.type, dims: x.dims }],
      attributes: { epsilon: { kind: 'float', value: 0 } },
    }),
  )
}

/**
 * GEGLU: the first half of each row of x [rows, 2 · width], times Gelu of the second. A bias [2 · width] is added to x first. Where the options
 * say so, it is one kernel, com.microsoft's BiasSplitGelu.
 */
export function geglu(graph: GraphBuilder, x: ValueInfo, bias?: ValueInfo): ValueInfo {
  const [rows, both] = [dimension(x, 0), dimension(x, 1)]
  if (bias !== undefined && graph.options.fusesGeglu === true) {
    const result = single(
      graph.node({
        op: 'BiasSplitGelu',
        domain: 'com.microsoft',
        inputs: [reshape(graph, x, [1, rows, both]), bias],
        outputs: [{ type: x.type, dims: [1, rows, both / 2] }],
      }),
    )
    return reshape(graph, result, [rows, both / 2])
  }
  const [state, gate] = split(graph, bias === undefined ? x : add(graph, x, bias), [both / 2, both / 2], 1)
  if (state === undefined || gate === undefined) throw new Error('Split returned too few parts')
  return mul(graph, state, gelu(graph, gate))
}

/** Layer normalization over the last axis. Every provider computes the statistics in float32. */
export function layerNormalization(
  graph: GraphBuilder,
  x: ValueInfo,
  weight: ValueInfo,
  bias: ValueInfo | undefined,
  epsilon: number,
): ValueInfo {
  return single(
    graph.node({
      op: 'LayerNormalization',
      inputs: bias === undefined ? [x, weight] : [x, weight, bias],
      outputs: [{ type: x.type, dims: x.dims }],
      attributes: { axis: { kind: 'int', value: -1 }, epsilon: { kind: 'float', value: epsilon } },
    }),
  )
}

/**
 * com.microsoft's SkipLayerNormalization: `sum` is x + skip, in their type, and `normed` its layer normalization over the last axis. Every provider
 * computes the statistics in float32.
 */
export function skipLayerNormalization(
  graph: GraphBuilder,
  x: ValueInfo,
  skip: ValueInfo,
  { weight, bias, epsilon }: { readonly weight: ValueInfo; readonly bias: ValueInfo; readonly epsilon: number },
): { readonly normed: ValueInfo; readonly sum: ValueInfo } {
  if (x.dims.join() !== skip.dims.join()) throw new Error(`Cannot add [${x.dims.join()}] and [${skip.dims.join()}]`)
  const output = { type: x.type, dims: x.dims }
  const [normed, sum] = graph.node({
    op: 'SkipLayerNormalization',
    domain: 'com.microsoft',
    inputs: [x, skip, weight, bias],
    outputs: [output, undefined, undefined, output],
    attributes: { epsilon: { kind: 'float', value: epsilon } },
  })
  if (normed === undefined || sum === undefined) throw new Error('SkipLayerNormalization has too few outputs')
  return { normed, sum }
}

/** Root-mean-square normalization over the last axis: onnxruntime's SimplifiedLayerNormalization, with statistics in float32. */
export function rmsNormalization(graph: GraphBuilder, x: ValueInfo, weight: ValueInfo, epsilon: number): ValueInfo {
  return single(
    graph.node({
      op: 'SimplifiedLayerNormalization',
      inputs: [x, weight],
      outputs: [{ type: x.type, dims: x.dims }],
      attributes: { axis: { kind: 'int', value: -1 }, epsilon: { kind: 'float', value: epsilon } },
    }),
  )
}

/** The inputs of com.microsoft's MultiHeadAttention: query [batch, tokens, heads·size], key and value [batch, keyTokens, heads·size]. */
export interface AttentionInputs {
  readonly query: ValueInfo
  readonly key: ValueInfo
  readonly value: ValueInfo
  /** The bias that is added to the scores: [1 or batch, 1 or heads, tokens, keyTokens]. */
  readonly bias?: ValueInfo | undefined
}

/**
 * softmax(q · kᵀ · scale + bias) · v for each head; `scale` is 1/√(head size) by default. The result is [batch, tokens,
 * heads·size]. Zeros fill each head up to a multiple of the option `headSizesOf`, for the device's kernel. They add nothing to a score.
 */
export function multiHeadAttention(graph: GraphBuilder, inputs: AttentionInputs, heads: number, scale?: number): ValueInfo {
  const { query, key, value, bias } = inputs
  const size = dimension(query, 2) / heads
  const { headSizesOf = 1 } = graph.options
  const missing = (headSizesOf - (size % headSizesOf)) % headSizesOf
  if (missing > 0) {
    const byHead = (x: ValueInfo, from: number): ValueInfo => reshape(graph, x, [dimension(x, 0), dimension(x, 1), heads, from])
    const inRows = (x: ValueInfo): ValueInfo => reshape(graph, x, [dimension(x, 0), dimension(x, 1), heads * dimension(x, 3)])
    const padded = (x: ValueInfo): ValueInfo => inRows(padEnd(graph, byHead(x, size), 3, missing))
    const operands = { query: padded(query), key: padded(key), value: padded(value), bias }
    const attended = multiHeadAttention(graph, operands, heads, scale ?? 1 / Math.sqrt(size))
    return inRows(slice(graph, byHead(attended, size + missing), 3, 0, size))
  }
  const operands = [query, key, value]
  return single(
    graph.node({
      op: 'MultiHeadAttention',
      domain: 'com.microsoft',
      inputs: bias === undefined ? operands : [...operands, undefined, undefined, bias],
      outputs: [{ type: query.type, dims: query.dims }],
      attributes: {
        num_heads: { kind: 'int', value: heads },
        ...(scale === undefined ? {} : { scale: { kind: 'float', value: scale } as const }),
      },
    }),
  )
}

/**
 * com.microsoft's RotaryEmbedding: turns pairs of each head's values by an angle for each token. `x` [batch, tokens, heads · size]; `cos` and `sin`
 * are [tokens, size / 2] for all rows of the batch, or [batch · tokens, size / 2]. Pairs are neighbours if `interleaved`, else value i and value
 * i + size / 2.
 */
export function rotaryEmbedding(
  graph: GraphBuilder,
  x: ValueInfo,
  { cos, sin, interleaved }: { readonly cos: ValueInfo; readonly sin: ValueInfo; readonly interleaved: boolean },
): ValueInfo {
  const [batch, tokens, width] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  const [rows, size] = [dimension(cos, 0), 2 * dimension(cos, 1)]
  if (cos.dims.join() !== sin.dims.join() || (rows !== tokens && rows !== batch * tokens) || width % size !== 0)
    throw new Error(`RotaryEmbedding cannot turn [${x.dims.join()}] by the angles of [${cos.dims.join()}]`)
  // If RotaryEmbedding receives a single position id, that is the position of the first token.
  const ids = rows === tokens ? [0] : Array.from({ length: rows }, (_, row) => row)
  return single(
    graph.node({
      op: 'RotaryEmbedding',
      domain: 'com.microsoft',
      inputs: [x, integers(graph, ids, rows === tokens ? [1] : [batch, tokens]), cos, sin],
      outputs: [{ type: x.type, dims: x.dims }],
      attributes: { interleaved: { kind: 'int', value: interleaved ? 1 : 0 } },
    }),
  )
}

/** A weight [N, K] that is quantized blockwise along K, in the layout of com.microsoft's MatMulNBits. */
export interface QuantizedOperand {
  readonly codes: ValueInfo
  readonly scales: ValueInfo
  readonly zeroPoints: ValueInfo | undefined
}

/** x · weightᵀ with a quantized weight, for x [rows, K] in the scales' float type. Without zero points, the code 2^(bits − 1) stands for 0. */
export function matMulNBits(graph: GraphBuilder, x: ValueInfo, weight: QuantizedOperand): ValueInfo {
  const columns = dimension(x, 1)
  const rows = dimension(weight.codes, 0)
  const blockSize = columns / dimension(weight.codes, 1)
  const bits = (8 * dimension(weight.codes, 2)) / blockSize
  const operands = [x, weight.codes, weight.scales]
  return single(
    graph.node({
      op: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: weight.zeroPoints === undefined ? operands : [...operands, weight.zeroPoints],
      outputs: [{ type: x.type, dims: [dimension(x, 0), rows] }],
      attributes: {
        K: { kind: 'int', value: columns },
        N: { kind: 'int', value: rows },
        bits: { kind: 'int', value: bits },
        block_size: { kind: 'int', value: blockSize },
      },
    }),
  )
}
