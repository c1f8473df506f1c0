/**
 * The encoder and the decoder that AutoencoderKL and AutoencoderKLFlux2 of diffusers share: residual blocks, attention in the middle, and a
 * 1×1 convolution of the moments or of the latents. A config may leave out the attention and the 1×1 convolutions.
 */

import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import { dimension, reshape } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { chunkedAttention } from '../layers/chunked-attention.js'
import { conv2d, groupNorm, imageToTokens, linear, toCompute, toFloat32, tokensToImage } from '../layers/layers.js'
import { downsample2D, resnetBlock2D, upsample2D } from '../layers/resnet.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import type { WeightNames } from '../types.js'
import type { KlSettings } from './kl-settings.js'

/** Sizes in latent pixels for the decoder, in image pixels for the encoder. */
export interface AutoencoderShape {
  readonly batch: number
  readonly height: number
  readonly width: number
}

/** How a class's latents differ from those of AutoencoderKL. */
export interface LatentForm {
  /** Channels of the graph's input `latents`. */
  readonly channels: number
  /** Converts the input `latents` to the latents on which the decoder runs. */
  readonly toDecoder: (graph: GraphBuilder, latents: ValueInfo) => ValueInfo
  /** Converts the moments, [batch, 2 · latent channels, height, width], to the encoder's output `latents`. */
  readonly fromMoments: (graph: GraphBuilder, moments: ValueInfo) => ValueInfo
}

/** Fixed in diffusers' Encoder and Decoder. */
const epsilon = 1e-6

/** The decoder: `latents` → `sample`. @throws InputError */
export function writeKlDecoder(
  vae: KlSettings,
  shape: AutoencoderShape,
  options: WriteOptions,
  form?: LatentForm,
): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, height: shapeLimits.latentEdge, width: shapeLimits.latentEdge })
  const component = new ComponentBuilder('AutoencoderKLDecoder', options)
  const latents = component.input('latents', 'float32', [
    shape.batch,
    form?.channels ?? vae.latentChannels,
    shape.height,
    shape.width,
  ])
  const reversed = vae.decoderChannels.toReversed()

  let { hidden } = component.stage(
    'decoder.conv_in',
    { latents },
    (graph, inputs) => {
      const computed = toCompute(graph, inputs.latents)
      const given = form?.toDecoder(graph, computed) ?? computed
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
  component.output(
    'sample',
    convOut(component, 'decoder', hidden, vae.outChannels, vae, (_, image) => image),
  )
  return component.finish()
}

/**
 * The encoder: `sample` → `moments`, the mean and the unclamped log variance. With `form`, the output is instead `latents`, which
 * `form.fromMoments` makes of the moments.
 * @throws InputError
 */
export function writeKlEncoder(
  vae: KlSettings,
  shape: AutoencoderShape,
  options: WriteOptions,
  form?: LatentForm,
): ComponentGraph {
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
  const both = 2 * vae.latentChannels
  const encoded = convOut(component, 'encoder', hidden, both, vae, (graph, image) => {
    const moments = vae.quantConv ? conv2d(graph, image, 'quant_conv', both, 1) : image
    return form?.fromMoments(graph, moments) ?? moments
  })
  component.output(form === undefined ? 'moments' : 'latents', encoded)
  return component.finish()
}

function resnet(component: ComponentBuilder, name: string, hidden: ValueInfo, channels: number, vae: KlSettings): ValueInfo {
  return component.stage(name, { hidden }, (graph, inputs) => ({
    hidden: resnetBlock2D(graph, inputs.hidden, undefined, channels, { groups: vae.groups, epsilon }),
  })).hidden
}

/** UNetMidBlock2D: resnet, attention (unless the config leaves it out), resnet. */
function midBlock(component: ComponentBuilder, name: string, hidden: ValueInfo, vae: KlSettings): ValueInfo {
  const channels = dimension(hidden, 1)
  const first = resnet(component, `${name}.resnets.0`, hidden, channels, vae)
  const middle = vae.midAttention
    ? component.stage(`${name}.attentions.0`, { hidden: first }, (graph, inputs) => ({
        hidden: attention(graph, inputs.hidden, vae.groups),
      })).hidden
    : first
  return resnet(component, `${name}.resnets.1`, middle, channels, vae)
}

/** diffusers' Attention with the options of the former AttentionBlock: one head for all channels, biases, a residual connection. */
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

/** conv_norm_out, SiLU and conv_out, then `after`. */
function convOut(
  component: ComponentBuilder,
  part: 'encoder' | 'decoder',
  hidden: ValueInfo,
  channels: number,
  vae: KlSettings,
  after: (graph: GraphBuilder, image: ValueInfo) => ValueInfo,
): ValueInfo {
  return component.stage(
    `${part}.conv_out`,
    { hidden },
    (graph, inputs) => {
      const normed = silu(graph, groupNorm(graph, inputs.hidden, `${part}.conv_norm_out`, vae.groups, epsilon))
      return { image: toFloat32(graph, after(graph, conv2d(graph, normed, `${part}.conv_out`, channels, 3))) }
    },
    '',
  ).image
}

/**
 * The layers' names in AttentionBlock, which diffusers had before 0.15 and published autoencoders still have, and their names in Attention.
 */
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

/** How checkpoints name the tensors of these classes. */
export const klWeightNames: WeightNames = {
  aliases: (name) => renamedLayers.flatMap(([former, current]) => renameLayer(name, [current, former]) ?? []),
  // Source: diffusers' `_convert_deprecated_attention_blocks`. It replaces tensors under current names by those under former names.
  aliasesFirst: true,
  currentName: (name) => renamedLayers.flatMap((layer) => renameLayer(name, layer) ?? [])[0] ?? name,
  unused: [
    [/^(encoder|quant_conv)\./, 'the encoder is not written'],
    [/^(decoder|post_quant_conv)\./, 'the decoder is not written'],
  ],
}
