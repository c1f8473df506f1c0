/**
 * The names of the tensors in LoRA files: those of diffusers (attention processors, old and new), of peft, and of kohya's sd-scripts and
 * LyCORIS. The code reads from a tensor's name its component, its layer and its part of the layer's branch (such as `lora_A`). It does not
 * know which layers a network has. Pure.
 * Source: diffusers' `convert_state_dict_to_peft`, `convert_unet_state_dict_to_peft` and `_convert_non_diffusers_lora_to_diffusers`.
 */

/** The component that a tensor is for. `denoiser`: `unet` or `transformer`. */
export type LoraComponent = 'denoiser' | 'text_encoder' | 'text_encoder_2' | 'text_encoder_3'

/** The tensors of a layer's branch: of LoRA (with a magnitude: DoRA), of LoHa and of LoKr, as peft and LyCORIS name them. */
export type BranchTensor =
  | 'lora_A'
  | 'lora_B'
  | 'lora_B_bias'
  | 'lora_magnitude_vector'
  | `hada_w${1 | 2}_${'a' | 'b'}`
  | `lokr_w${1 | 2}${'' | '_a' | '_b'}`

/**
 * Which part of a layer's branch a tensor is. `ignored`: a change of a bias or of a norm, which diffusers leaves out for FLUX.1. `other`: a part that belongs to a
 * method that cannot be loaded.
 */
export type LoraPart = BranchTensor | 'alpha' | 'dora-scale' | 'ignored' | 'other'

/** Which part of which layer of which component a tensor is. */
export interface LoraKey {
  readonly component: LoraComponent
  /** The layer as the file names it, without the component: with dots, or, from kohya's scripts, with underscores. */
  readonly layer: string
  readonly part: LoraPart
}

/** Patterns for the ends of tensor names. The first matching pattern gives the part; the text before the match is the layer's name. */
const parts: readonly (readonly [RegExp, LoraPart])[] = [
  [/\.lora_A(?:\.[^.]+)?\.weight$/, 'lora_A'],
  [/\.lora_B(?:\.[^.]+)?\.weight$/, 'lora_B'],
  [/\.lora_B(?:\.[^.]+)?\.bias$/, 'lora_B_bias'],
  [/\.lora_down\.weight$/, 'lora_A'],
  [/\.lora_up\.weight$/, 'lora_B'],
  [/[._]lora\.down\.weight$/, 'lora_A'],
  [/[._]lora\.up\.weight$/, 'lora_B'],
  // XLabs numbers the streams of a FLUX block: `qkv_lora1`.
  [/(?<=_lora[12])\.down\.weight$/, 'lora_A'],
  [/(?<=_lora[12])\.up\.weight$/, 'lora_B'],
  [/\.lora_linear_layer\.down\.weight$/, 'lora_A'],
  [/\.lora_linear_layer\.up\.weight$/, 'lora_B'],
  [/\.lora_magnitude_vector(?:\.[^.]+)*$/, 'lora_magnitude_vector'],
  ...(['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'] as const).map(endsWith),
  ...(['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b'] as const).map(endsWith),
  [/(?:_lora)?\.alpha$/, 'alpha'],
  [/\.dora_scale$/, 'dora-scale'],
  [/\.diff_b$|\.norm.*\.diff$/, 'ignored'],
  [/\.(?:diff|w_norm|b_norm|on_input|rescale)$/, 'other'],
  [/\.(?:lora_mid|hada_\w+|lokr_\w+|b?oft_\w+|ia3_l|lora_embedding_[AB])(?:\.[^.]+)*$/, 'other'],
  // LyCORIS names the vector of (IA)³ like a weight.
  [/(?<=^lora_(?:unet|te\d?)_\w+)\.weight$/, 'other'],
  [/\.lora_A(?:\.[^.]+)?\.bias$/, 'other'],
]

/** An entry for names that end in `.part`, after which peft may add the name of an adapter. */
function endsWith(part: BranchTensor): readonly [RegExp, LoraPart] {
  return [new RegExp(`\\.${part}(?:\\.[^.]+)?$`), part]
}

/** The beginnings of tensor names, by component. */
const prefixes: readonly (readonly [RegExp, LoraComponent])[] = [
  [/^text_encoders\.clip_l\.transformer\.|^text_encoder\.|^lora_te1?_/, 'text_encoder'],
  [/^text_encoders\.clip_g\.transformer\.|^text_encoder_2\.|^lora_te2_/, 'text_encoder_2'],
  [/^text_encoders\.t5xxl\.transformer\.|^text_encoder_3\.|^lora_te3_/, 'text_encoder_3'],
  [/^(?:unet|transformer|(?:model\.)?diffusion_model)\.|^lora_(?:unet|transformer)_|^lycoris_/, 'denoiser'],
]

/** The component, the layer and the part that a tensor's name tells. Undefined if no pattern of `parts` matches. */
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

/** A layer's name with underscores in place of dots, as kohya's scripts write it. */
export function flatName(layer: string): string {
  return layer.replaceAll('.', '_')
}

/** Endings of the names of attention layers: those in files of older diffusers releases, and those that a network has instead. */
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
  // Files made with transformers 5 name a CLIPTextModel's layers without the prefix `text_model`.
  return [...all, ...all.map((own) => `text_model_${own}`)]
}
