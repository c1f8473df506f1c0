/**
 * AutoencoderKL of diffusers: the encoder (image to moments) and the decoder (latents to image) as two components. Scaling and shifting
 * of latents, and drawing from the moments, are the pipeline's.
 */

import type { Config } from '../../checkpoint/types.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import { dimension, reshape } from '../../onnx/ops-shape.js'
import type { ComponentGraph, Shapes, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { chunkedAttention } from '../layers/chunked-attention.js'
import { ConfigReader } from '../config-reader.js'
import { conv2d, groupNorm, imageToTokens, linear, toCompute, toFloat32, tokensToImage } from '../layers/layers.js'
import { downsample2D, resnetBlock2D, upsample2D } from '../layers/resnet.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import type { AutoencoderDefinition, LatentStatistics } from '../types.js'

/** Sizes in latent pixels for the decoder, in image pixels for the encoder. */
interface AutoencoderShape {
  readonly batch: number
  readonly height: number
  readonly width: number
}

interface AutoencoderConfig {
  /** Keys that the class does not have. */
  readonly ignoredKeys: Config
  readonly upcast: boolean
  readonly scaling: LatentStatistics
  /** In image pixels. */
  readonly sampleSize: number
  readonly inChannels: number
  readonly outChannels: number
  readonly latentChannels: number
  readonly channels: readonly number[]
  readonly layers: number
  readonly groups: number
  readonly quantConv: boolean
  readonly postQuantConv: boolean
  readonly midAttention: boolean
}

/** Fixed in diffusers' Encoder and Decoder. */
const epsilon = 1e-6

function readConfig(config: Config): AutoencoderConfig {
  const reader = new ConfigReader('AutoencoderKL', config)
  const down = reader.strings('down_block_types', ['DownEncoderBlock2D'], 8)
  const up = reader.strings('up_block_types', ['UpDecoderBlock2D'], 8)
  if (down.some((type) => type !== 'DownEncoderBlock2D')) throw reader.unsupported('down_block_types', ['DownEncoderBlock2D'])
  if (up.some((type) => type !== 'UpDecoderBlock2D')) throw reader.unsupported('up_block_types', ['UpDecoderBlock2D'])
  if (up.length !== down.length) throw reader.invalid('up_block_types', `${down.length} types, as many as down_block_types`)
  const bounds = { min: 1, max: 16384 }
  const latentChannels = reader.integer('latent_channels', 4, { min: 1, max: 1024 })
  const size = reader.raw('sample_size')
  const edge: unknown = Array.isArray(size) ? size[0] : size
  const result: Omit<AutoencoderConfig, 'ignoredKeys'> = {
    upcast: reader.raw('force_upcast') !== false,
    scaling: readScaling(reader, latentChannels),
    sampleSize: typeof edge === 'number' && Number.isInteger(edge) && edge > 0 ? edge : 32,
    inChannels: reader.integer('in_channels', 3, { min: 1, max: 1024 }),
    outChannels: reader.integer('out_channels', 3, { min: 1, max: 1024 }),
    latentChannels,
    channels: reader.integers('block_out_channels', [64], down.length, bounds),
    layers: reader.integer('layers_per_block', 1, { min: 1, max: 16 }),
    groups: reader.integer('norm_num_groups', 32, { min: 1, max: 1024 }),
    quantConv: reader.boolean('use_quant_conv', true),
    postQuantConv: reader.boolean('use_post_quant_conv', true),
    midAttention: reader.boolean('mid_block_add_attention', true),
  }
  if (result.channels.some((width) => width % result.groups !== 0)) {
    throw reader.invalid('norm_num_groups', `a divisor of each of block_out_channels ${result.channels.join(', ')}`)
  }
  reader.require('act_fn', 'silu', 'swish')
  return { ...result, ignoredKeys: reader.finish() }
}

/** The statistics are read when a pipeline class asks for them: a class that does not use one, as in diffusers, runs whatever it is. */
function readScaling(reader: ConfigReader, channels: number): LatentStatistics {
  const bounds = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  const factor = reader.number('scaling_factor', 0.18215, bounds)
  if (!Number.isFinite(1 / factor)) throw reader.invalid('scaling_factor', 'a number to divide by')
  const perChannel = (key: string) => {
    const value = reader.raw(key) ?? null
    if (value === null) return null
    if (!Array.isArray(value) || value.length !== channels || !value.every((item): item is number => Number.isFinite(item)))
      throw reader.invalid(key, `a list of ${channels} numbers`)
    return value
  }
  reader.neutral('shift_factor', 'latents_mean', 'latents_std')
  return {
    factor,
    get shift() {
      return reader.number('shift_factor', 0, bounds)
    },
    get mean() {
      return perChannel('latents_mean')
    },
    get std() {
      return perChannel('latents_std')
    },
  }
}

/** The decoder: `latents` → `sample`. @throws InputError */
function writeDecoder(vae: AutoencoderConfig, shape: AutoencoderShape, options: WriteOptions): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, height: shapeLimits.latentEdge, width: shapeLimits.latentEdge })
  const component = new ComponentBuilder('AutoencoderKLDecoder', options)
  const latents = component.input('latents', 'float32', [shape.batch, vae.latentChannels, shape.height, shape.width])
  const reversed = vae.channels.toReversed()

  let { hidden } = component.stage(
    'decoder.conv_in',
    { latents },
    (graph, inputs) => {
      const given = toCompute(graph, inputs.latents)
      const quantized = vae.postQuantConv ? conv2d(graph, given, 'post_quant_conv', vae.latentChannels, 1) : given
      return { hidden: conv2d(graph, quantized, 'decoder.conv_in', reversed[0] ?? 0, 3) }
    },
    '',
  )
  hidden = midBlock(component, 'decoder.mid_block', hidden, vae)
  for (const [index, channels] of reversed.entries()) {
    const name = `decoder.up_blocks.${index}`
    for (let layer = 0; layer <= vae.layers; layer++)
      hidden = resnet(component, `${name}.resnets.${layer}`, hidden, channels, vae)
    if (index < reversed.length - 1) {
      const stage = component.stage(`${name}.upsamplers.0`, { hidden }, (graph, inputs) => ({
        hidden: upsample2D(graph, inputs.hidden, 2 * dimension(inputs.hidden, 2), 2 * dimension(inputs.hidden, 3)),
      }))
      hidden = stage.hidden
    }
  }
  component.output('sample', convOut(component, 'decoder', hidden, vae.outChannels, vae, undefined))
  return component.finish()
}

/** The encoder: `sample` → `moments`, the mean and the unclamped log variance. @throws InputError */
function writeEncoder(vae: AutoencoderConfig, shape: AutoencoderShape, options: WriteOptions): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, height: shapeLimits.imageEdge, width: shapeLimits.imageEdge })
  const component = new ComponentBuilder('AutoencoderKLEncoder', options)
  const sample = component.input('sample', 'float32', [shape.batch, vae.inChannels, shape.height, shape.width])

  let { hidden } = component.stage(
    'encoder.conv_in',
    { sample },
    (graph, inputs) => ({ hidden: conv2d(graph, toCompute(graph, inputs.sample), 'conv_in', vae.channels[0] ?? 0, 3) }),
    'encoder',
  )
  for (const [index, channels] of vae.channels.entries()) {
    const name = `encoder.down_blocks.${index}`
    for (let layer = 0; layer < vae.layers; layer++) hidden = resnet(component, `${name}.resnets.${layer}`, hidden, channels, vae)
    if (index < vae.channels.length - 1) {
      const stage = component.stage(`${name}.downsamplers.0`, { hidden }, (graph, inputs) => ({
        hidden: downsample2D(graph, inputs.hidden, 0),
      }))
      hidden = stage.hidden
    }
  }
  hidden = midBlock(component, 'encoder.mid_block', hidden, vae)
  const quantConv = vae.quantConv ? 'quant_conv' : undefined
  component.output('moments', convOut(component, 'encoder', hidden, 2 * vae.latentChannels, vae, quantConv))
  return component.finish()
}

function resnet(
  component: ComponentBuilder,
  name: string,
  hidden: ValueInfo,
  channels: number,
  vae: AutoencoderConfig,
): ValueInfo {
  return component.stage(name, { hidden }, (graph, inputs) => ({
    hidden: resnetBlock2D(graph, inputs.hidden, undefined, channels, { groups: vae.groups, epsilon }),
  })).hidden
}

/** UNetMidBlock2D: resnet, attention, resnet. */
function midBlock(component: ComponentBuilder, name: string, hidden: ValueInfo, vae: AutoencoderConfig): ValueInfo {
  const channels = dimension(hidden, 1)
  const first = resnet(component, `${name}.resnets.0`, hidden, channels, vae)
  const middle = vae.midAttention
    ? component.stage(`${name}.attentions.0`, { hidden: first }, (graph, inputs) => ({
        hidden: attention(graph, inputs.hidden, vae.groups),
      })).hidden
    : first
  return resnet(component, `${name}.resnets.1`, middle, channels, vae)
}

/** diffusers' Attention made from the former AttentionBlock: one head as wide as the image has channels, biases, residual. */
function attention(graph: GraphBuilder, x: ValueInfo, groups: number): ValueInfo {
  const channels = dimension(x, 1)
  const batch = dimension(x, 0)
  const rows = imageToTokens(graph, groupNorm(graph, x, 'group_norm', groups, epsilon))
  const project = (name: string) =>
    reshape(graph, linear(graph, rows, name, channels), [batch, dimension(rows, 0) / batch, channels])
  const query = project('to_q')
  const key = project('to_k')
  const value = project('to_v')
  const attended = reshape(graph, chunkedAttention(graph, query, key, value), rows.dims)
  const size = { batch, height: dimension(x, 2), width: dimension(x, 3) }
  return add(graph, tokensToImage(graph, linear(graph, attended, 'to_out.0', channels), size), x)
}

/** conv_norm_out, SiLU, conv_out, and a 1×1 convolution after it where there is one. */
function convOut(
  component: ComponentBuilder,
  part: 'encoder' | 'decoder',
  hidden: ValueInfo,
  channels: number,
  vae: AutoencoderConfig,
  after: string | undefined,
): ValueInfo {
  return component.stage(
    `${part}.conv_out`,
    { hidden },
    (graph, inputs) => {
      const normed = silu(graph, groupNorm(graph, inputs.hidden, `${part}.conv_norm_out`, vae.groups, epsilon))
      const image = conv2d(graph, normed, `${part}.conv_out`, channels, 3)
      return { image: toFloat32(graph, after === undefined ? image : conv2d(graph, image, after, channels, 1)) }
    },
    '',
  ).image
}

/** The layers of AttentionBlock before diffusers 0.15, whose names published autoencoders still have, and their names in Attention. */
const renamedLayers = [
  ['query', 'to_q'],
  ['key', 'to_k'],
  ['value', 'to_v'],
  ['proj_attn', 'to_out.0'],
] as const

const middleAttention = /^((?:encoder|decoder)\.mid_block\.attentions\.\d+\.)(.+)(\.(?:weight|bias))$/

/** The name with its layer renamed; undefined where the layer is not `from`. */
function renameLayer(name: string, [from, to]: readonly [string, string]): string | undefined {
  const [, block, layer, kind] = middleAttention.exec(name) ?? []
  return layer === from ? `${block}${to}${kind}` : undefined
}

const facts = {
  className: 'AutoencoderKL',
  library: 'diffusers',
  role: 'autoencoder',
  weights: {
    aliases: (name) => renamedLayers.flatMap(([former, current]) => renameLayer(name, [current, former]) ?? []),
    // Source: diffusers' `_convert_deprecated_attention_blocks`.
    currentName: (name) => renamedLayers.flatMap((layer) => renameLayer(name, layer) ?? [])[0] ?? name,
    unused: [
      [/^(encoder|quant_conv)\./, 'the encoder is not written'],
      [/^(decoder|post_quant_conv)\./, 'the decoder is not written'],
    ],
  },
  // Its few Linear weights are a hundredth of it, and are in the middle of the image.
  quantizable: false,
} as const satisfies Omit<AutoencoderDefinition, 'fromConfig'>

/** The autoencoder of all Stable Diffusion models. */
export const AutoencoderKL: AutoencoderDefinition<AutoencoderConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels, latentChannels, upcast, scaling } = config
    const scaleFactor = 2 ** (config.channels.length - 1)
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      smallest: { height: 8, width: 8 },
      shapes: ({ height, width }, { part } = {}): Shapes =>
        part === 'encoder'
          ? { sample: [1, inChannels, height * scaleFactor, width * scaleFactor] }
          : { latents: [1, latentChannels, height, width] },
      write: (shapes, options, { part } = {}) => {
        const [batch = 0, , height = 0, width = 0] = (part === 'encoder' ? shapes['sample'] : shapes['latents']) ?? []
        return (part === 'encoder' ? writeEncoder : writeDecoder)(config, { batch, height, width }, options)
      },
      upcast,
      latentChannels,
      scaleFactor,
      tile: Math.max(1, Math.floor(config.sampleSize / scaleFactor)),
      encoderOutput: 'moments',
      hasEncoder: (tensors) => [...tensors].some((name) => name.startsWith('encoder.')),
      scaling,
    }
  },
}
