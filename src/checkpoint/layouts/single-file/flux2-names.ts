/**
 * The names of the transformer's tensors in single files of FLUX.2. The projections of queries, keys and values are one matrix. diffusers
 * has three matrices in `double_blocks`, and one in `single_blocks`. Source: the modules of https://github.com/black-forest-labs/flux2
 * `model.py`; which tensors diffusers takes: `convert_flux2_transformer_checkpoint_to_diffusers`.
 */

import { qkvProjections } from './flux-names.js'
import { renamed, thirds, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

const outside: Readonly<Record<string, string>> = {
  'time_in.in_layer': 'time_guidance_embed.timestep_embedder.linear_1',
  'time_in.out_layer': 'time_guidance_embed.timestep_embedder.linear_2',
  'double_stream_modulation_img.lin': 'double_stream_modulation_img.linear',
  'double_stream_modulation_txt.lin': 'double_stream_modulation_txt.linear',
  'single_stream_modulation.lin': 'single_stream_modulation.linear',
  img_in: 'x_embedder',
  txt_in: 'context_embedder',
  'final_layer.linear': 'proj_out',
}

/** The layers of a block, without `weight` or `scale`, by the names that diffusers has for the kinds of blocks. */
const inBlock: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  transformer_blocks: {
    'img_attn.norm.query_norm': 'attn.norm_q',
    'img_attn.norm.key_norm': 'attn.norm_k',
    'txt_attn.norm.query_norm': 'attn.norm_added_q',
    'txt_attn.norm.key_norm': 'attn.norm_added_k',
    'img_attn.proj': 'attn.to_out.0',
    'txt_attn.proj': 'attn.to_add_out',
    'img_mlp.0': 'ff.linear_in',
    'img_mlp.2': 'ff.linear_out',
    'txt_mlp.0': 'ff_context.linear_in',
    'txt_mlp.2': 'ff_context.linear_out',
  },
  single_transformer_blocks: {
    linear1: 'attn.to_qkv_mlp_proj',
    linear2: 'attn.to_out',
    'norm.query_norm': 'attn.norm_q',
    'norm.key_norm': 'attn.norm_k',
  },
}

/** A Flux2Transformer2DModel whose tensors begin with this prefix; it is '' in files of the transformer alone. */
export const flux2Names = (prefix: string): OriginalNames => ({ id: 'flux-2', prefix, pieces: () => flux2Pieces })

function flux2Pieces(name: string): readonly TensorPiece[] {
  const [, layer = '', kind] = /^(.+)\.(weight|bias|scale)$/.exec(name) ?? []
  // The norms of queries and keys have a `scale`, which is `weight` in diffusers.
  const parameter = kind === 'scale' ? 'weight' : kind
  if (layer === 'final_layer.adaLN_modulation.1') return [{ name: `norm_out.linear.${parameter}`, part: 'halves-exchanged' }]
  if (Object.hasOwn(outside, layer)) return renamed(`${outside[layer]}.${parameter}`)
  const [, streams, index, inner = ''] = /^(double|single)_blocks\.(\d+)\.(.+)$/.exec(layer) ?? []
  if (streams === undefined) return []
  const blocks = streams === 'double' ? 'transformer_blocks' : 'single_transformer_blocks'
  const path = `${blocks}.${index}`
  if (streams === 'double' && Object.hasOwn(qkvProjections, inner))
    return thirds((qkvProjections[inner] ?? []).map((to) => `${path}.${to}.${parameter}`))
  const layers = inBlock[blocks] ?? {}
  return Object.hasOwn(layers, inner) ? renamed(`${path}.${layers[inner]}.${parameter}`) : []
}
