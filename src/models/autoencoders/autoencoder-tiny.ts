/**
 * AutoencoderTiny of diffusers (TAESD, TAESDXL, TAESD3): a small autoencoder of convolutions and ReLU, the encoder (image to latents) and the
 * decoder (latents to image) as two graphs. Its encoder gives the latents themselves, not moments to draw them from.
 */

import type { Config } from '../../checkpoint/types.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import { scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, relu, scale, sub, tanh } from '../../onnx/ops-math.js'
import { dimension, resizeNearest } from '../../onnx/ops-shape.js'
import type { ComponentGraph, Shapes, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { conv2d, toCompute, toFloat32 } from '../layers/layers.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { currentNames, type AutoencoderDefinition } from '../types.js'

/** The encoder or the decoder: `blocks` has the number of blocks at each resolution. All blocks have the same channels. */
interface TinyHalf {
  readonly channels: number
  readonly blocks: readonly number[]
}

interface AutoencoderTinyConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Values that have no effect here, although the class has their keys. */
  readonly unusedValues: Config
  readonly inChannels: number
  readonly outChannels: number
  readonly latentChannels: number
  readonly encoder: TinyHalf
  readonly decoder: TinyHalf
  readonly scalingFactor: number
  readonly shiftFactor: number
}

/** Sizes in latent pixels for the decoder, in image pixels for the encoder. */
interface TinyShape {
  readonly batch: number
  readonly height: number
  readonly width: number
}

/** The edge of diffusers' tiles, in image pixels. */
const tileEdge = 512

function readConfig(config: Config): AutoencoderTinyConfig {
  const reader = new ConfigReader('AutoencoderTiny', config)
  const bounds = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  const half = (part: 'encoder' | 'decoder', blocks: readonly number[]): TinyHalf => {
    const key = `num_${part}_blocks`
    const given: unknown = reader.raw(key)
    const count = Array.isArray(given) && given.length >= 1 && given.length <= 8 ? given.length : blocks.length
    const channelKey = `${part}_block_out_channels`
    const channels = reader.integers(
      channelKey,
      Array.from({ length: count }, () => 64),
      count,
      { min: 1, max: 16384 },
    )
    const [first = 64] = channels
    // A convolution between two resolutions keeps the number of channels.
    if (channels.some((width) => width !== first)) throw reader.unsupported(channelKey, ['one width for all blocks'])
    return { channels: first, blocks: reader.integers(key, [...blocks], count, { min: 0, max: 16 }) }
  }
  const result: Omit<AutoencoderTinyConfig, 'ignoredKeys' | 'unusedValues'> = {
    inChannels: reader.integer('in_channels', 3, { min: 1, max: 1024 }),
    outChannels: reader.integer('out_channels', 3, { min: 1, max: 1024 }),
    latentChannels: reader.integer('latent_channels', 4, { min: 1, max: 1024 }),
    encoder: half('encoder', [1, 3, 3, 3]),
    decoder: half('decoder', [3, 3, 3, 1]),
    scalingFactor: reader.number('scaling_factor', 1, bounds),
    shiftFactor: reader.number('shift_factor', 0, bounds),
  }
  if (!Number.isFinite(1 / result.scalingFactor))
    throw reader.invalid('scaling_factor', 'a number other than 0 whose inverse is finite')
  if (result.encoder.blocks.length !== result.decoder.blocks.length)
    throw reader.invalid('num_decoder_blocks', `${result.encoder.blocks.length} numbers, as many as num_encoder_blocks`)
  reader.requireActivation('act_fn', 'relu')
  reader.require('upsample_fn', 'nearest')
  reader.require('upsampling_scaling_factor', 2)
  // diffusers uses the two `latent_…` keys only to store latents as bytes, and overwrites `force_upcast` and `block_out_channels`.
  reader.unused('latent_magnitude', 3)
  reader.unused('latent_shift', 0.5)
  reader.unused('force_upcast', null)
  reader.unused('block_out_channels', [64, 64, 64, 64])
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** AutoencoderTinyBlock: three convolutions with ReLU between them, then ReLU of their result plus the input. */
function block(component: ComponentBuilder, name: string, hidden: ValueInfo): ValueInfo {
  return component.stage(name, { hidden }, (graph, inputs) => {
    const channels = dimension(inputs.hidden, 1)
    const first = relu(graph, conv2d(graph, inputs.hidden, 'conv.0', channels, 3))
    const second = relu(graph, conv2d(graph, first, 'conv.2', channels, 3))
    return { hidden: relu(graph, add(graph, conv2d(graph, second, 'conv.4', channels, 3), inputs.hidden)) }
  }).hidden
}

/**
 * A stage for the layer `name` (`….layers.<index>`), whose only weights are those of a convolution. `body` gets the index as `conv`, the
 * convolution's name in the stage.
 */
function convolution(
  component: ComponentBuilder,
  name: string,
  hidden: ValueInfo,
  body: (graph: GraphBuilder, hidden: ValueInfo, conv: string) => ValueInfo,
): ValueInfo {
  const [, scope = '', layer = ''] = /^(.*)\.(\d+)$/.exec(name) ?? []
  return component.stage(name, { hidden }, (graph, inputs) => ({ hidden: body(graph, inputs.hidden, layer) }), scope).hidden
}

/** The encoder: `sample` in −1…1 → `latents`. @throws InputError */
function writeEncoder(vae: AutoencoderTinyConfig, shape: TinyShape, options: WriteOptions): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, height: shapeLimits.imageEdge, width: shapeLimits.imageEdge })
  const { channels, blocks } = vae.encoder
  const component = new ComponentBuilder('AutoencoderTinyEncoder', options)
  let hidden: ValueInfo = component.input('sample', 'float32', [shape.batch, vae.inChannels, shape.height, shape.width])
  let layer = 0
  const next = () => `encoder.layers.${layer++}`
  for (const [index, count] of blocks.entries()) {
    hidden = convolution(component, next(), hidden, (graph, given, conv) => {
      if (index > 0) return conv2d(graph, given, conv, channels, 3, { stride: 2, pads: [1, 1, 1, 1], bias: false })
      const sample = toCompute(graph, given)
      return conv2d(graph, scale(graph, add(graph, sample, scalar(graph, 1, sample.type)), 0.5), conv, channels, 3)
    })
    for (let i = 0; i < count; i++) hidden = block(component, next(), hidden)
  }
  const latents = convolution(component, next(), hidden, (graph, given, conv) =>
    toFloat32(graph, conv2d(graph, given, conv, vae.latentChannels, 3)),
  )
  component.output('latents', latents)
  return component.finish()
}

/** The decoder: `latents` → `sample` in about −1…1. @throws InputError */
function writeDecoder(vae: AutoencoderTinyConfig, shape: TinyShape, options: WriteOptions): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, height: shapeLimits.latentEdge, width: shapeLimits.latentEdge })
  const { channels, blocks } = vae.decoder
  const component = new ComponentBuilder('AutoencoderTinyDecoder', options)
  let hidden: ValueInfo = component.input('latents', 'float32', [shape.batch, vae.latentChannels, shape.height, shape.width])
  let layer = 0
  const next = () => `decoder.layers.${layer++}`
  hidden = convolution(component, next(), hidden, (graph, given, conv) => {
    const bounded = toCompute(graph, scale(graph, tanh(graph, scale(graph, given, 1 / 3)), 3))
    return relu(graph, conv2d(graph, bounded, conv, channels, 3))
  })
  // The activation and each upsampling count as layers too, without weights.
  layer++
  for (const [index, count] of blocks.entries()) {
    for (let i = 0; i < count; i++) hidden = block(component, next(), hidden)
    const last = index === blocks.length - 1
    if (!last) layer++
    hidden = convolution(component, next(), hidden, (graph, given, conv) => {
      if (!last) {
        const larger = resizeNearest(graph, given, 2 * dimension(given, 2), 2 * dimension(given, 3))
        return conv2d(graph, larger, conv, channels, 3, { bias: false })
      }
      const image = toFloat32(graph, conv2d(graph, given, conv, vae.outChannels, 3))
      return sub(graph, scale(graph, image, 2), scalar(graph, 1, image.type))
    })
  }
  component.output('sample', hidden)
  return component.finish()
}

const facts = {
  className: 'AutoencoderTiny',
  library: 'diffusers',
  role: 'autoencoder',
  weights: {
    ...currentNames,
    unused: [
      [/^encoder\./, 'the encoder is not written'],
      [/^decoder\./, 'the decoder is not written'],
    ],
  },
  quantizable: false,
} as const satisfies Omit<AutoencoderDefinition, 'fromConfig'>

/** The tiny autoencoders of the TAESD family. */
export const AutoencoderTiny: AutoencoderDefinition<AutoencoderTinyConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels, latentChannels, scalingFactor, shiftFactor } = config
    const scaleFactor = 2 ** (config.decoder.blocks.length - 1)
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: 1, width: 1 },
      shapes: ({ height, width }, { part } = {}): Shapes =>
        part === 'encoder'
          ? { sample: [1, inChannels, height * scaleFactor, width * scaleFactor] }
          : { latents: [1, latentChannels, height, width] },
      write: (shapes, options, { part } = {}) => {
        const [batch = 0, , height = 0, width = 0] = (part === 'encoder' ? shapes['sample'] : shapes['latents']) ?? []
        return (part === 'encoder' ? writeEncoder : writeDecoder)(config, { batch, height, width }, options)
      },
      upcast: false,
      latentChannels,
      scaleFactor,
      tile: Math.max(1, Math.floor(tileEdge / scaleFactor)),
      tileJoint: 'covering',
      hasEncoder: (tensors) => [...tensors].some((name) => name.startsWith('encoder.')),
      encoderOutput: 'latents',
      scaling: { factor: scalingFactor, shift: shiftFactor, mean: null, std: null },
    }
  },
}
