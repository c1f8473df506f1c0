/** Guesses from the layers of a LoRA file which family of models it was trained for, for messages. Pure. */

import type { LoraFile, LoraModule } from './lora-file.js'
import { flatName } from './lora-keys.js'

/** The families of Stable Diffusion by the width of the text embeddings, which the UNet's cross-attentions take. */
const byContextWidth: Readonly<Record<number, string>> = {
  768: 'Stable Diffusion 1',
  1024: 'Stable Diffusion 2',
  2048: 'Stable Diffusion XL',
}

/** The family's name for people; undefined where the layers do not show it. */
export function looksLike({ modules }: LoraFile): string | undefined {
  const layers = modules
    .filter(({ component }) => component === 'denoiser')
    .map((module) => [flatName(module.layer), module] as const)
  const has = (pattern: RegExp) => layers.some(([name]) => pattern.test(name))
  if (has(/(?:double|single)_blocks_\d|single_transformer_blocks/)) return 'FLUX'
  if (has(/joint_blocks_\d|^transformer_blocks_\d+_attn_add_/)) return 'Stable Diffusion 3'
  const context = layers.find(([name]) => /attn2_to_[kv]$/.test(name))
  const known = byContextWidth[context === undefined ? 0 : inputWidth(context[1])]
  if (known !== undefined) return known
  if (has(/^layers_\d+_attention|^noise_refiner/)) return 'Z-Image'
  if (has(/^transformer_blocks_\d+_img_m/)) return 'Qwen-Image'
  return modules.some(({ component }) => component === 'text_encoder_2') ? 'Stable Diffusion XL' : undefined
}

function inputWidth({ columns }: LoraModule): number {
  return columns
}
