/**
 * The names of the transformer's tensors in single files of FLUX.1. The projections of queries, keys and values are one matrix; in
 * `single_blocks`, it also has the first layer of the MLP. Source: the modules of https://github.com/black-forest-labs/flux `layers.py`;
 * which tensors diffusers takes: `convert_flux_transformer_checkpoint_to_diffusers`.
 */

import type { Config } from '../../types.js'
import { renamed, thirds, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

const outside: Readonly<Record<string, string>> = {
  'time_in.in_layer': 'time_text_embed.timestep_embedder.linear_1',
  'time_in.out_layer': 'time_text_embed.timestep_embedder.linear_2',
  'vector_in.in_layer': 'time_text_embed.text_embedder.linear_1',
  'vector_in.out_layer': 'time_text_embed.text_embedder.linear_2',
  'guidance_in.in_layer': 'time_text_embed.guidance_embedder.linear_1',
  'guidance_in.out_layer': 'time_text_embed.guidance_embedder.linear_2',
  img_in: 'x_embedder',
  txt_in: 'context_embedder',
  'final_layer.linear': 'proj_out',
}

/** The layers of a block, without `weight`, `bias` or `scale`. */
const inBlock: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  double_blocks: {
    'img_mod.lin': 'norm1.linear',
    'txt_mod.lin': 'norm1_context.linear',
    'img_attn.norm.query_norm': 'attn.norm_q',
    'img_attn.norm.key_norm': 'attn.norm_k',
    'txt_attn.norm.query_norm': 'attn.norm_added_q',
    'txt_attn.norm.key_norm': 'attn.norm_added_k',
    'img_attn.proj': 'attn.to_out.0',
    'txt_attn.proj': 'attn.to_add_out',
    'img_mlp.0': 'ff.net.0.proj',
    'img_mlp.2': 'ff.net.2',
    'txt_mlp.0': 'ff_context.net.0.proj',
    'txt_mlp.2': 'ff_context.net.2',
  },
  single_blocks: {
    'modulation.lin': 'norm.linear',
    'norm.query_norm': 'attn.norm_q',
    'norm.key_norm': 'attn.norm_k',
    linear2: 'proj_out',
  },
}

/** The projections in the rows of an original `qkv`, in their order. */
export const qkvProjections: Readonly<Record<string, readonly string[]>> = {
  'img_attn.qkv': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'txt_attn.qkv': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
}

const blocks: Readonly<Record<string, string>> = {
  double_blocks: 'transformer_blocks',
  single_blocks: 'single_transformer_blocks',
}

/** A FluxTransformer2DModel whose tensors begin with this prefix; it is '' in files of the transformer alone. */
export const fluxNames = (prefix: string): OriginalNames => ({
  id: 'flux-1',
  prefix,
  pieces: (config) => {
    const width = innerWidth(config)
    return (name) => fluxPieces(name, width)
  },
})

/** The width of the hidden states, which is that of the queries, of the keys and of the values. */
function innerWidth({ num_attention_heads: heads = 24, attention_head_dim: headWidth = 128 }: Config): number {
  return typeof heads === 'number' && typeof headWidth === 'number' ? heads * headWidth : 0
}

function fluxPieces(name: string, width: number): readonly TensorPiece[] {
  const [, layer, kind] = /^(.+)\.(weight|bias|scale)$/.exec(name) ?? []
  if (layer === undefined || kind === undefined) return []
  // The norms of queries and keys have a `scale`, which is `weight` in diffusers.
  const parameter = kind === 'scale' ? 'weight' : kind
  if (layer === 'final_layer.adaLN_modulation.1') return [{ name: `norm_out.linear.${parameter}`, part: 'halves-exchanged' }]
  if (Object.hasOwn(outside, layer)) return renamed(`${outside[layer]}.${parameter}`)
  const [, kindOfBlock = '', index, inner = ''] = /^(double_blocks|single_blocks)\.(\d+)\.(.+)$/.exec(layer) ?? []
  if (index === undefined) return []
  const path = `${blocks[kindOfBlock]}.${index}`
  if (kindOfBlock === 'single_blocks' && inner === 'linear1')
    return [
      ...['attn.to_q', 'attn.to_k', 'attn.to_v'].map((to, i) => ({
        name: `${path}.${to}.${parameter}`,
        part: { rows: [i * width, (i + 1) * width] as const },
      })),
      { name: `${path}.proj_mlp.${parameter}`, part: { rows: [3 * width, undefined] as const } },
    ]
  if (kindOfBlock === 'double_blocks' && Object.hasOwn(qkvProjections, inner))
    return thirds((qkvProjections[inner] ?? []).map((to) => `${path}.${to}.${parameter}`))
  const layers = inBlock[kindOfBlock] ?? {}
  return Object.hasOwn(layers, inner) ? renamed(`${path}.${layers[inner]}.${parameter}`) : []
}
