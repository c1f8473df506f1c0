/**
 * The layers of LoRA files that diffusers 0.42 leaves out although the network has them, because its converters do not know their names. Aquatint leaves them
 * out too, so that images are the same. Source: `lora_state_dict` of diffusers' `SD3LoraLoaderMixin`, `FluxLoraLoaderMixin` and `Flux2LoraLoaderMixin`, and its
 * `_convert_unet_lora_key`. Pure.
 */

import type { LoraFile, LoraModule } from './lora-file.js'
import { flatName } from './lora-keys.js'

/** The networks whose files can have layers that diffusers leaves out, and `other`. */
export type NetworkKind = 'unet' | 'sd3' | 'flux1' | 'flux2' | 'other'

/** The kind of a network, recognized by its layers. Chroma's transformer counts as FLUX.1's, because diffusers reads its files in the same way. */
export function networkKind(layers: { readonly has: (layer: string) => boolean } | undefined): NetworkKind {
  if (layers === undefined) return 'other'
  if (layers.has('double_stream_modulation_img.linear')) return 'flux2'
  if (layers.has('single_transformer_blocks.0.proj_mlp')) return 'flux1'
  if (layers.has('pos_embed.proj') && layers.has('transformer_blocks.0.attn.add_q_proj')) return 'sd3'
  return layers.has('conv_in') && layers.has('time_embedding.linear_1') ? 'unet' : 'other'
}

/**
 * Whether a layer has a name of the original code that diffusers never reads: that of a block of Stable Diffusion 3, or of the last norm
 * of FLUX.1 or Stable Diffusion 3.
 */
export function isOtherOriginal(layer: string): boolean {
  return /^(?:joint_blocks_\d|final_layer_)/.test(flatName(layer))
}

/**
 * Whether a file for FLUX.1 has both `lora_down` and names that begin with `transformer.`. diffusers then reads only the tensors with this prefix, without their
 * alphas, and so none of the text encoders' tensors.
 */
export function hasMixedNames({ modules }: Pick<LoraFile, 'modules'>, kind: NetworkKind): boolean {
  const has = (test: (name: string) => boolean) => modules.some(({ first }) => test(first.name))
  return kind === 'flux1' && has((name) => name.endsWith('.lora_down.weight')) && has((name) => name.startsWith('transformer.'))
}

/** Whether a layer is in a UNet's blocks under diffusers' names. */
const isOwnBlock = ({ component, layer }: LoraModule) => component === 'denoiser' && /(?:down|mid|up)_blocks?[._]/.test(layer)

/** Whether a layer is in a UNet's blocks under latent-diffusion's names. */
const isLdmBlock = ({ component, layer }: LoraModule) =>
  component === 'denoiser' && /^(?:input_blocks|middle_block|output_blocks)[._]/.test(layer)

/** Which layers diffusers leaves out because the file has a UNet's blocks under both kinds of names: it takes those under its own. */
export function repeatedBlocks({ modules }: Pick<LoraFile, 'modules'>, kind: NetworkKind): (module: LoraModule) => boolean {
  return kind === 'unet' && modules.some(isOwnBlock) ? isLdmBlock : () => false
}

/** In FLUX.2 files of kohya's form, diffusers reads these layers and those of the blocks. */
const flux2Outside: ReadonlySet<string> = new Set([
  'img_in',
  'txt_in',
  'time_in_in_layer',
  'time_in_out_layer',
  'final_layer_linear',
])

/**
 * Whether diffusers leaves out a layer that the network has.
 * @param isOriginal whether the file names it as the model's original code does
 * @param isKohya whether the file has kohya's form, with `lora_down` and `lora_up`
 */
export function isUnread(module: LoraModule, kind: NetworkKind, isOriginal: boolean, isKohya: boolean): boolean {
  const { name } = module.first
  const layer = flatName(module.layer)
  const isInBlock = /^(?:double|single)_blocks_\d/.test(layer)
  if (kind === 'unet') return name.startsWith('lora_unet_') && /^(?:add_embedding_|time_embedding_cond_proj$)/.test(layer)
  if (kind === 'sd3') return isOriginal || name.startsWith('lora_')
  if (module.component !== 'denoiser') return false
  if (kind === 'flux1') return isOriginal && !(isKohya ? isInBlock : /\.processor\.|^base_model\./.test(name))
  if (kind === 'flux2' && isKohya) return !(isOriginal && name.startsWith('lora_unet_') && (isInBlock || flux2Outside.has(layer)))
  return false
}
