/**
 * PyTorch's layers, in the forms that the networks use. Each declares its weights under PyTorch's names below the current scope. Between
 * layers, tokens are [batch · tokens, channels], the shape that Gemm needs.
 */

import { CheckpointError } from '../../errors.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul, silu } from '../../onnx/ops-math.js'
import {
  conv,
  gemm,
  instanceNormalization,
  layerNormalization,
  matMulNBits,
  scaleChannels,
  skipLayerNormalization,
  type Pads,
  type QuantizedOperand,
} from '../../onnx/ops-network.js'
import { cast, dimension, reshape, transpose } from '../../onnx/ops-shape.js'
import type { ElementType, QuantizedShape, ValueInfo } from '../../onnx/types.js'
import { elementCount } from '../../util/element-count.js'
import { addConvBranches, addLinearBranches } from './adapters.js'

/**
 * torch.nn.Linear: x [rows, in] → [rows, out], computed in x's type. The weight may be quantized. A weight that is not quantized is cast if x is
 * wider than the graph's type. Branches of adapters are added to the result.
 */
export function linear(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  out: number,
  options: { readonly bias?: boolean } = {},
): ValueInfo {
  const columns = dimension(x, 1)
  const shape = graph.quantized(`${name}.weight`)
  const float = () => cast(graph, graph.weight(`${name}.weight`, [out, columns]), x.type)
  const ownBias = () => (options.bias === false ? undefined : cast(graph, graph.weight(`${name}.bias`, [out]), x.type))
  if (shape === undefined) {
    const [weight, bias] = [float(), ownBias()]
    return addLinearBranches(graph, x, { name, weight, bias }, gemm(graph, x, weight, bias))
  }
  const product = matMulNBits(graph, x, quantizedWeight(graph, name, [out, columns], shape, x.type))
  const bias = ownBias()
  const sum = bias === undefined ? product : add(graph, product, bias)
  return addLinearBranches(graph, x, { name, weight: undefined, bias }, sum)
}

/** A Linear on each token: [batch, tokens, in] → [batch, tokens, out]. */
export function tokenLinear(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  out: number,
  options: { readonly bias?: boolean } = {},
): ValueInfo {
  const [batch, tokens, width] = [dimension(x, 0), dimension(x, 1), dimension(x, 2)]
  return reshape(graph, linear(graph, reshape(graph, x, [batch * tokens, width]), name, out, options), [batch, tokens, out])
}

/** Declares the tensors of a quantized weight [rows, columns]. @throws CheckpointError `shape-mismatch` if its codes have another layout */
function quantizedWeight(
  graph: GraphBuilder,
  name: string,
  [rows, columns]: readonly [number, number],
  shape: QuantizedShape,
  type: ElementType,
): QuantizedOperand {
  const [given, blocks, blockBytes] = shape.codes
  const blockSize = columns / blocks
  const bits = (8 * blockBytes) / blockSize
  if (given !== rows || ![16, 32, 64, 128].includes(blockSize) || (bits !== 4 && bits !== 8)) {
    const message = `The quantized weight ${name}.weight has codes of shape [${shape.codes.join(', ')}], which does not match a [${rows}, ${columns}] weight`
    throw new CheckpointError('shape-mismatch', message, {
      tensor: `${name}.weight`,
      expected: [rows, columns],
      actual: shape.codes,
    })
  }
  const zeroPoints = shape.zeroPoints
    ? graph.weight(`${name}.weight_zero_point`, [rows, Math.ceil((blocks * bits) / 8)], 'uint8')
    : undefined
  const codes = graph.weight(`${name}.weight`, shape.codes, 'uint8')
  return { codes, scales: graph.weight(`${name}.weight_scale`, [rows, blocks], type), zeroPoints }
}

/**
 * torch.nn.Conv2d with a square kernel on [batch, in, height, width]. By default, `pads` is half the kernel on each side, and `bias` is
 * true. Branches of adapters are added to the result.
 */
export function conv2d(
  graph: GraphBuilder,
  x: ValueInfo,
  name: string,
  out: number,
  kernel: number,
  options: { readonly stride?: number; readonly pads?: Pads; readonly bias?: boolean } = {},
): ValueInfo {
  const half = Math.floor((kernel - 1) / 2)
  const weight = graph.weight(`${name}.weight`, [out, dimension(x, 1), kernel, kernel])
  const pads = options.pads ?? [half, half, half, half]
  const bias = options.bias === false ? undefined : graph.weight(`${name}.bias`, [out])
  const stride = options.stride ?? 1
  return addConvBranches(graph, x, { name, weight, bias }, conv(graph, x, weight, bias, { stride, pads }), {
    kernel,
    stride,
    pads,
  })
}

/** torch.nn.LayerNorm over the last axis, computed in x's type. */
export function layerNorm(graph: GraphBuilder, x: ValueInfo, name: string, epsilon: number): ValueInfo {
  const width = dimension(x, x.dims.length - 1)
  const parameter = (part: 'weight' | 'bias') => cast(graph, graph.weight(`${name}.${part}`, [width]), x.type)
  return layerNormalization(graph, x, parameter('weight'), parameter('bias'), epsilon)
}

/** residual + update, and torch.nn.LayerNorm over the last axis of this sum. Inputs and results are of one type. */
export function addAndLayerNorm(
  graph: GraphBuilder,
  residual: ValueInfo,
  update: ValueInfo,
  name: string,
  epsilon: number,
): { readonly sum: ValueInfo; readonly normed: ValueInfo } {
  const width = dimension(residual, residual.dims.length - 1)
  const parameter = (part: 'weight' | 'bias') => cast(graph, graph.weight(`${name}.${part}`, [width]), residual.type)
  return skipLayerNormalization(graph, update, residual, { weight: parameter('weight'), bias: parameter('bias'), epsilon })
}

/** residual + update, in the type of the residual stream: float32 in classes with `residual: 'float32'`. */
export function addToResidual(graph: GraphBuilder, residual: ValueInfo, update: ValueInfo): ValueInfo {
  return add(graph, residual, cast(graph, update, residual.type))
}

/**
 * torch.nn.GroupNorm on [batch, channels, …], as Reshape, InstanceNormalization and Reshape, then Mul and Add. On the CPU, one operator
 * replaces Mul and Add. ai.onnx's GroupNormalization would run partly on the CPU, and com.microsoft's has no WebGPU kernel.
 */
export function groupNorm(graph: GraphBuilder, x: ValueInfo, name: string, groups: number, epsilon: number): ValueInfo {
  const channels = dimension(x, 1)
  const isOnCpu = graph.options.weights === 'initializer'
  const affine = isOnCpu ? [channels] : [channels, ...x.dims.slice(2).map(() => 1)]
  const weight = graph.weight(`${name}.weight`, affine)
  const bias = graph.weight(`${name}.bias`, affine)
  const grouped = reshape(graph, x, [dimension(x, 0), groups, (channels / groups) * elementCount(x.dims.slice(2))])
  const normalised = reshape(graph, instanceNormalization(graph, grouped, epsilon), x.dims)
  return isOnCpu ? scaleChannels(graph, normalised, weight, bias) : add(graph, mul(graph, normalised, weight), bias)
}

/** [batch, channels, height, width] → [batch · height · width, channels]. */
export function imageToTokens(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  const batch = dimension(x, 0)
  const channels = dimension(x, 1)
  const pixels = dimension(x, 2) * dimension(x, 3)
  const rows = transpose(graph, reshape(graph, x, [batch, channels, pixels]), [0, 2, 1])
  return reshape(graph, rows, [batch * pixels, channels])
}

/** [batch · height · width, channels] → [batch, channels, height, width]. */
export function tokensToImage(
  graph: GraphBuilder,
  x: ValueInfo,
  size: { readonly batch: number; readonly height: number; readonly width: number },
): ValueInfo {
  const channels = dimension(x, 1)
  const rows = reshape(graph, x, [size.batch, size.height * size.width, channels])
  return reshape(graph, transpose(graph, rows, [0, 2, 1]), [size.batch, channels, size.height, size.width])
}

/** diffusers' TimestepEmbedding and PixArtAlphaTextProjection with SiLU: two Linears on [batch, in]. */
export function timestepMlp(graph: GraphBuilder, x: ValueInfo, name: string, width: number): ValueInfo {
  return linear(graph, silu(graph, linear(graph, x, `${name}.linear_1`, width)), `${name}.linear_2`, width)
}

/** Casts a float32 input of the graph to the type in which the graph computes. */
export function toCompute(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return cast(graph, x, graph.options.dtype)
}

/** Casts a result of the graph to float32. */
export function toFloat32(graph: GraphBuilder, x: ValueInfo): ValueInfo {
  return cast(graph, x, 'float32')
}
