/**
 * The names of a UNet's tensors in single files of Stable Diffusion 1, 2 and XL, which are those of CompVis' latent-diffusion: numbered
 * blocks, each with one ResNet and perhaps an attention and an upsampler, or with a downsampler alone. Source: the modules of
 * https://github.com/CompVis/latent-diffusion `openaimodel.py`; which tensors diffusers takes: `convert_ldm_unet_checkpoint`.
 */

import type { Config } from '../../types.js'
import { renamed, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

/** Layers outside diffusers' numbered down and up blocks, except the middle block's ResNets. */
const single: Readonly<Record<string, string>> = {
  'time_embed.0': 'time_embedding.linear_1',
  'time_embed.2': 'time_embedding.linear_2',
  'label_emb.0.0': 'add_embedding.linear_1',
  'label_emb.0.2': 'add_embedding.linear_2',
  'input_blocks.0.0': 'conv_in',
  'middle_block.1': 'mid_block.attentions.0',
  'out.0': 'conv_norm_out',
  'out.2': 'conv_out',
}

/** The layers of a ResNet. */
const resnet: Readonly<Record<string, string>> = {
  'in_layers.0': 'norm1',
  'in_layers.2': 'conv1',
  'emb_layers.1': 'time_emb_proj',
  'out_layers.0': 'norm2',
  'out_layers.3': 'conv2',
  skip_connection: 'conv_shortcut',
}

/** A UNet2DConditionModel whose tensors begin with this prefix; it is '' in files of the UNet alone. */
export const unetNames = (prefix: string): OriginalNames => ({
  id: 'ldm-unet-1',
  prefix,
  pieces: (config) => {
    const layers = layersPerBlock(config)
    return (name) => outside(name) ?? inBlocks(name, layers + 1)
  },
})

/** diffusers' `layers_per_block`. The original code has the same number in all blocks. */
function layersPerBlock({ layers_per_block: given = 2 }: Config): number {
  const layers: unknown = Array.isArray(given) ? given[0] : given
  return typeof layers === 'number' ? layers : 2
}

function outside(name: string): readonly TensorPiece[] | undefined {
  for (const [from, to] of Object.entries(single)) {
    if (name.startsWith(`${from}.`)) return renamed(to + name.slice(from.length))
  }
  return undefined
}

/** @param perBlock how many numbered blocks each down or up block has: one more than `layers_per_block`, for the downsampler or the up block's extra layer */
function inBlocks(name: string, perBlock: number): readonly TensorPiece[] {
  const match = /^(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)$/.exec(name)
  const [, kind, number, rest] = match ?? []
  if (kind === undefined || number === undefined || rest === undefined) return []
  const index = Number(number)
  if (kind === 'middle_block') return resnetPiece(`mid_block.resnets.${index / 2}`, rest)
  const [place, inner] = [rest.slice(0, rest.indexOf('.')), rest.slice(rest.indexOf('.') + 1)]
  const at = kind === 'input_blocks' ? index - 1 : index
  const [block, layer] = [Math.floor(at / perBlock), at % perBlock]
  const path = `${kind === 'input_blocks' ? 'down' : 'up'}_blocks.${block}`
  if (inner.startsWith('op.')) return renamed(`${path}.downsamplers.0.conv.${inner.slice('op.'.length)}`)
  if (inner.startsWith('conv.')) return renamed(`${path}.upsamplers.0.${inner}`)
  return place === '0' ? resnetPiece(`${path}.resnets.${layer}`, inner) : renamed(`${path}.attentions.${layer}.${inner}`)
}

function resnetPiece(path: string, inner: string): readonly TensorPiece[] {
  for (const [from, to] of Object.entries(resnet)) {
    if (inner.startsWith(`${from}.`)) return renamed(`${path}.${to}${inner.slice(from.length)}`)
  }
  return []
}
