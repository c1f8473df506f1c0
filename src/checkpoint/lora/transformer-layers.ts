/**
 * The names that LoRAs of FLUX.1, FLUX.2 and Z-Image have for the layers of their transformers if they were trained on the original code: those of
 * black-forest-labs/flux and flux2 and Tongyi-MAI/Z-Image, and XLabs' for FLUX.1. There, queries, keys and values are one matrix. Source: diffusers'
 * `lora_conversion_utils.py`. Pure.
 */

/** A layer in the original code, and which part of its rows is a given layer of diffusers. */
export interface OriginalLayer {
  readonly name: string
  /** The index of the layer among those that are one matrix in the original code; 0 for a layer with a matrix of its own. */
  readonly place: number
}

type Names = Readonly<Record<string, string>>

const timeNames: Names = {
  'timestep_embedder.linear_1': 'time_in.in_layer',
  'timestep_embedder.linear_2': 'time_in.out_layer',
  'guidance_embedder.linear_1': 'guidance_in.in_layer',
  'guidance_embedder.linear_2': 'guidance_in.out_layer',
  'text_embedder.linear_1': 'vector_in.in_layer',
  'text_embedder.linear_2': 'vector_in.out_layer',
}

/** Layers outside the blocks, in FLUX. */
const fluxOutside: Names = {
  x_embedder: 'img_in',
  context_embedder: 'txt_in',
  proj_out: 'final_layer.linear',
  'norm_out.linear': 'final_layer.adaLN_modulation.1',
  'single_stream_modulation.linear': 'single_stream_modulation.lin',
  'double_stream_modulation_img.linear': 'double_stream_modulation_img.lin',
  'double_stream_modulation_txt.linear': 'double_stream_modulation_txt.lin',
  ...Object.fromEntries(Object.entries(timeNames).map(([own, name]) => [`time_text_embed.${own}`, name])),
  ...Object.fromEntries(Object.entries(timeNames).map(([own, name]) => [`time_guidance_embed.${own}`, name])),
}

/** Layers of a FLUX block with two streams, without queries, keys and values, which are one matrix in the original. */
const fluxDouble: Names = {
  'attn.to_out.0': 'img_attn.proj',
  'attn.to_add_out': 'txt_attn.proj',
  'ff.net.0.proj': 'img_mlp.0',
  'ff.net.2': 'img_mlp.2',
  'ff_context.net.0.proj': 'txt_mlp.0',
  'ff_context.net.2': 'txt_mlp.2',
  'ff.linear_in': 'img_mlp.0',
  'ff.linear_out': 'img_mlp.2',
  'ff_context.linear_in': 'txt_mlp.0',
  'ff_context.linear_out': 'txt_mlp.2',
  'norm1.linear': 'img_mod.lin',
  'norm1_context.linear': 'txt_mod.lin',
}

/** Layers of a FLUX block with one stream. */
const fluxSingle: Names = {
  proj_out: 'linear2',
  'norm.linear': 'modulation.lin',
  'attn.to_qkv_mlp_proj': 'linear1',
  'attn.to_out': 'linear2',
}

/** Queries, keys and values of an attention, in the order of the original's rows. */
const own = ['to_q', 'to_k', 'to_v']
const added = ['add_q_proj', 'add_k_proj', 'add_v_proj']

/**
 * The names of a layer in the original code of the families. Empty for a layer that has none.
 * @param layer its name in diffusers @param isFlux2 whether the network is FLUX.2's. In FLUX.1's original code the last norm has its rows in another order, and diffusers does not read it
 */
export function originalLayers(layer: string, isFlux2: boolean): readonly OriginalLayer[] {
  const outside = layer === 'norm_out.linear' && !isFlux2 ? undefined : lookUp(fluxOutside, layer)
  if (outside !== undefined) return whole(outside)
  const [, kind, block, rest = ''] = /^(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)$/.exec(layer) ?? []
  if (kind === 'single_transformer_blocks') {
    const path = `single_blocks.${block}`
    const place = [...own.map((name) => `attn.${name}`), 'proj_mlp'].indexOf(rest)
    return [
      ...(place < 0 ? [] : [{ name: `${path}.linear1`, place }]),
      ...inAttention(rest, 'attn.', own, [`${path}.qkv`]),
      ...(rest === 'proj_out' ? whole(`${path}.proj`) : []),
      ...whole(inBlock(path, lookUp(fluxSingle, rest))),
    ]
  }
  if (kind === 'transformer_blocks') {
    const path = `double_blocks.${block}`
    return [
      ...inAttention(rest, 'attn.', own, [`${path}.img_attn.qkv`, `${path}.qkv_lora1`]),
      ...inAttention(rest, 'attn.', added, [`${path}.txt_attn.qkv`, `${path}.qkv_lora2`]),
      ...(rest === 'attn.to_out.0' ? whole(`${path}.proj_lora1`) : []),
      ...(rest === 'attn.to_add_out' ? whole(`${path}.proj_lora2`) : []),
      ...whole(inBlock(path, lookUp(fluxDouble, rest))),
    ]
  }
  const [, path = '', inner = ''] = /^((?:layers|noise_refiner|context_refiner)\.\d+\.attention)\.(.+)$/.exec(layer) ?? []
  if (path === '') return []
  return [...inAttention(inner, '', own, [`${path}.qkv`]), ...(inner === 'to_out.0' ? whole(`${path}.out`) : [])]
}

/** A layer that has a matrix of its own in the original. */
function whole(name: string | undefined): readonly OriginalLayer[] {
  return name === undefined ? [] : [{ name, place: 0 }]
}

/** The names of one of several projections that are one matrix in the original. `attention`: the beginning of their names in diffusers. */
function inAttention(
  layer: string,
  attention: string,
  projections: readonly string[],
  names: readonly string[],
): readonly OriginalLayer[] {
  const place = projections.map((name) => `${attention}${name}`).indexOf(layer)
  return place < 0 ? [] : names.map((name) => ({ name, place }))
}

function inBlock(path: string, layer: string | undefined): string | undefined {
  return layer === undefined ? undefined : `${path}.${layer}`
}

function lookUp(names: Names, layer: string): string | undefined {
  return Object.hasOwn(names, layer) ? names[layer] : undefined
}
