/**
 * The names of the tensors in LoRA files: those of diffusers (attention processors, old and new), of peft, and of kohya's sd-scripts and
 * LyCORIS. This file finds out which part of which layer of which component a tensor is; it does not know what layers a network has. Pure.
 * Source: diffusers' `convert_state_dict_to_peft`, `convert_unet_state_dict_to_peft` and `_convert_non_diffusers_lora_to_diffusers`.
 */

/** The component that a tensor is for. `denoiser`: `unet` or `transformer`. */
export type LoraComponent = 'denoiser' | 'text_encoder' | 'text_encoder_2' | 'text_encoder_3'

/** What a tensor is of a layer's branch. `other`: a part that belongs to another method than LoRA. */
export type LoraPart = 'a' | 'b' | 'alpha' | 'dora-scale' | 'other'

/** A tensor's place. */
export interface LoraKey {
  readonly component: LoraComponent
  /** The layer as the file names it, without the component: with dots, or, from kohya's scripts, with underscores. */
  readonly layer: string
  readonly part: LoraPart
}

/** The ends of tensor names. The first that matches counts; what it matches is no part of the layer's name. */
const parts: readonly (readonly [RegExp, LoraPart])[] = [
  [/\.lora_A(?:\.[^.]+)?\.weight$/, 'a'],
  [/\.lora_B(?:\.[^.]+)?\.weight$/, 'b'],
  [/\.lora_down\.weight$/, 'a'],
  [/\.lora_up\.weight$/, 'b'],
  [/[._]lora\.down\.weight$/, 'a'],
  [/[._]lora\.up\.weight$/, 'b'],
  [/\.lora_linear_layer\.down\.weight$/, 'a'],
  [/\.lora_linear_layer\.up\.weight$/, 'b'],
  [/(?:_lora)?\.alpha$/, 'alpha'],
  [/\.dora_scale$/, 'dora-scale'],
  [/\.lora_magnitude_vector(?:\.[^.]+)*$/, 'other'],
  [/\.(?:lora_mid|hada_\w+|lokr_\w+|oft_\w+|lora_embedding_[AB]|diff|diff_b|w_norm|b_norm)(?:\.[^.]+)*$/, 'other'],
  [/\.lora_[AB](?:\.[^.]+)?\.bias$/, 'other'],
]

/** The beginnings of tensor names, by component. */
const prefixes: readonly (readonly [RegExp, LoraComponent])[] = [
  [/^text_encoder\.|^lora_te1?_/, 'text_encoder'],
  [/^text_encoder_2\.|^lora_te2_/, 'text_encoder_2'],
  [/^text_encoder_3\.|^lora_te3_/, 'text_encoder_3'],
  [/^(?:unet|transformer|diffusion_model)\.|^lora_(?:unet|transformer)_|^lycoris_/, 'denoiser'],
]

/** Where a tensor belongs. Undefined for a name that no LoRA file has. */
export function parseLoraKey(name: string): LoraKey | undefined {
  const end = parts.map(([pattern, part]) => ({ match: pattern.exec(name), part })).find(({ match }) => match !== null)
  if (end === undefined || end.match === null) return undefined
  const path = name
    .slice(0, end.match.index)
    .replace(/^base_model\.model\./, '')
    .replace('.processor.', '.')
  const [prefix, component] = prefixes.find(([pattern]) => pattern.test(path)) ?? [/^/, 'denoiser' as const]
  return { component, layer: path.replace(prefix, ''), part: end.part }
}

/** A layer's name without the difference between dots and underscores, which kohya's scripts do not keep. */
export function flatName(layer: string): string {
  return layer.replaceAll('.', '_')
}

/** What older releases called the layers of an attention. */
const oldLayers: readonly (readonly [RegExp, string])[] = [
  [/to_out$/, 'to_out_0'],
  [/to_q$/, 'q_proj'],
  [/to_k$/, 'k_proj'],
  [/to_v$/, 'v_proj'],
  [/to_out$/, 'out_proj'],
]

/** The names, as {@link flatName} writes them, that a network may have for a layer of a file, most likely first. */
export function layerNames(layer: string): readonly string[] {
  const name = flatName(layer)
  const others = oldLayers.flatMap(([pattern, now]) => (pattern.test(name) ? [name.replace(pattern, now)] : []))
  const all = [name, ...others]
  // transformers 5 has no `text_model` around a CLIPTextModel's layers.
  return [...all, ...all.map((own) => `text_model_${own}`)]
}
