/**
 * Converts diffusers' names of the layers of SDXL's UNet to the names in kohya's LoRA files, which are those of CompVis' latent-diffusion.
 * ../layouts/single-file/unet-names.ts converts the tensor names of checkpoints in the other direction. Pure.
 */

const outside: Readonly<Record<string, string>> = {
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_in: 'input_blocks.0.0',
  conv_out: 'out.2',
}

const resnet: Readonly<Record<string, string>> = {
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
}

/**
 * The names of a layer in latent-diffusion: two for an upsampler, whose place depends on the attentions beside it; none if latent-diffusion
 * lacks the layer.
 * @param layersPerBlock diffusers' `layers_per_block`
 */
export function ldmLayers(layer: string, layersPerBlock: number): readonly string[] {
  const known = Object.hasOwn(outside, layer) ? outside[layer] : undefined
  if (known !== undefined) return [known]
  const perBlock = layersPerBlock + 1
  const [, middle, middleIndex, middleRest = ''] = /^mid_block\.(resnets|attentions)\.(\d+)\.(.+)$/.exec(layer) ?? []
  if (middle === 'attentions') return [`middle_block.1.${middleRest}`]
  if (middle !== undefined) return inResnet(`middle_block.${2 * Number(middleIndex)}`, middleRest)
  const match = /^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(layer)
  const [, side, block, kind, index, rest = ''] = match ?? []
  if (side === undefined) return []
  const begin = Number(block) * perBlock
  if (kind === 'downsamplers') return [`input_blocks.${begin + perBlock}.0.op`]
  if (kind === 'upsamplers') return [1, 2].map((place) => `output_blocks.${begin + perBlock - 1}.${place}.${rest}`)
  const path = side === 'down' ? `input_blocks.${1 + begin + Number(index)}` : `output_blocks.${begin + Number(index)}`
  return kind === 'attentions' ? [`${path}.1.${rest}`] : inResnet(`${path}.0`, rest)
}

function inResnet(path: string, layer: string): readonly string[] {
  const name = Object.hasOwn(resnet, layer) ? resnet[layer] : undefined
  return name === undefined ? [] : [`${path}.${name}`]
}
