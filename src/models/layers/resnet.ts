/** diffusers' ResnetBlock2D, Upsample2D and Downsample2D, which UNets and autoencoders share. Weight names are relative to the block. */

import { convOfDoubled } from '../../onnx/conv-of-doubled.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, scale, silu } from '../../onnx/ops-math.js'
import { dimension, reshape, resizeNearest, transpose } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { conv2d, groupNorm, linear } from './layers.js'

/** Options that all resnet blocks of a network share. */
export interface ResnetSettings {
  readonly groups: number
  readonly epsilon: number
  /** The block's result is divided by this. */
  readonly outputScaleFactor?: number | undefined
}

/**
 * ResnetBlock2D with time embedding norm `default`: norm1, SiLU, conv1, time shift, norm2, SiLU, conv2, shortcut.
 * `temb` is SiLU of the time embedding, [batch, channels], computed once because it is the same in all blocks.
 */
export function resnetBlock2D(
  graph: GraphBuilder,
  x: ValueInfo,
  temb: ValueInfo | undefined,
  out: number,
  settings: ResnetSettings,
): ValueInfo {
  const { groups, epsilon } = settings
  let hidden = conv2d(graph, silu(graph, groupNorm(graph, x, 'norm1', groups, epsilon)), 'conv1', out, 3)
  if (temb !== undefined) {
    const shift = linear(graph, temb, 'time_emb_proj', out)
    hidden = addToChannels(graph, hidden, shift)
  }
  hidden = conv2d(graph, silu(graph, groupNorm(graph, hidden, 'norm2', groups, epsilon)), 'conv2', out, 3)
  const shortcut = dimension(x, 1) === out ? x : conv2d(graph, x, 'conv_shortcut', out, 1)
  return scale(graph, add(graph, shortcut, hidden), 1 / (settings.outputScaleFactor ?? 1))
}

/**
 * Adds `shift` [batch, channels] to each pixel of a convolution's result. On a GPU, onnxruntime computes a convolution with channels last,
 * between two Transposes that it adds. The Transposes here cancel these, and `shift` needs no Transpose.
 */
function addToChannels(graph: GraphBuilder, image: ValueInfo, shift: ValueInfo): ValueInfo {
  const [batch, channels] = [dimension(shift, 0), dimension(shift, 1)]
  if (graph.options.weights === 'initializer') return add(graph, image, reshape(graph, shift, [batch, channels, 1, 1]))
  const last = transpose(graph, image, [0, 2, 3, 1])
  return transpose(graph, add(graph, last, reshape(graph, shift, [batch, 1, 1, channels])), [0, 3, 1, 2])
}

/**
 * Upsample2D with convolution: nearest neighbour to the given size, then a 3×3 convolution. On the CPU, {@link convOfDoubled} computes both
 * if the size is twice that of x and no adapter changes the convolution.
 */
export function upsample2D(graph: GraphBuilder, x: ValueInfo, height: number, width: number): ValueInfo {
  const channels = dimension(x, 1)
  const kernel = [channels, channels, 3, 3]
  const isDoubled = height === 2 * dimension(x, 2) && width === 2 * dimension(x, 3)
  if (isDoubled && graph.options.weights === 'initializer' && graph.adapters('conv', kernel).length === 0)
    return convOfDoubled(graph, x, graph.weight('conv.weight', kernel), graph.weight('conv.bias', [channels]))
  return conv2d(graph, resizeNearest(graph, x, height, width), 'conv', channels, 3)
}

/** Downsample2D with convolution: 3×3, stride 2. Padding 0 means one row below and one column at the right, as in diffusers. */
export function downsample2D(graph: GraphBuilder, x: ValueInfo, padding: number): ValueInfo {
  const pads = padding === 0 ? ([0, 0, 1, 1] as const) : ([padding, padding, padding, padding] as const)
  return conv2d(graph, x, 'conv', dimension(x, 1), 3, { stride: 2, pads })
}
