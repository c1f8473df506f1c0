/**
 * The names of the transformer's tensors in single files of Stable Diffusion 3 and 3.5. Source: the modules of
 * https://github.com/Stability-AI/sd3.5 `mmditx.py`; which tensors diffusers takes: `convert_sd3_transformer_checkpoint_to_diffusers`.
 */

import { renamed, thirds, type OriginalNames, type Originals, type TensorPiece } from './tensor-pieces.js'

const outside: Readonly<Record<string, string>> = {
  'x_embedder.proj': 'pos_embed.proj',
  't_embedder.mlp.0': 'time_text_embed.timestep_embedder.linear_1',
  't_embedder.mlp.2': 'time_text_embed.timestep_embedder.linear_2',
  'y_embedder.mlp.0': 'time_text_embed.text_embedder.linear_1',
  'y_embedder.mlp.2': 'time_text_embed.text_embedder.linear_2',
  context_embedder: 'context_embedder',
  'final_layer.linear': 'proj_out',
}

/** For each of the two streams of a block: original layers, and their names in diffusers. */
const streams: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  x_block: {
    'attn.ln_q': 'attn.norm_q',
    'attn.ln_k': 'attn.norm_k',
    'attn.proj': 'attn.to_out.0',
    'attn2.ln_q': 'attn2.norm_q',
    'attn2.ln_k': 'attn2.norm_k',
    'attn2.proj': 'attn2.to_out.0',
    'adaLN_modulation.1': 'norm1.linear',
    'mlp.fc1': 'ff.net.0.proj',
    'mlp.fc2': 'ff.net.2',
  },
  context_block: {
    'attn.ln_q': 'attn.norm_added_q',
    'attn.ln_k': 'attn.norm_added_k',
    'attn.proj': 'attn.to_add_out',
    'adaLN_modulation.1': 'norm1_context.linear',
    'mlp.fc1': 'ff_context.net.0.proj',
    'mlp.fc2': 'ff_context.net.2',
  },
}

/** By an attention's path in a block of the original: the diffusers layers that its matrix `qkv` holds, in the order of its rows. */
const projections: Readonly<Record<string, readonly string[]>> = {
  'x_block.attn': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'x_block.attn2': ['attn2.to_q', 'attn2.to_k', 'attn2.to_v'],
  'context_block.attn': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
}

/** An SD3Transformer2DModel whose tensors begin with this prefix; it is '' in files of the transformer alone. */
export const sd3Names = (prefix: string): OriginalNames => ({
  id: 'mmdit-1',
  prefix,
  pieces: (_config, originals) => {
    const last = lastBlock(originals)
    return (name) => sd3Pieces(name, last)
  },
})

function lastBlock(originals: Originals): number {
  let last = -1
  for (const name of originals.keys()) last = Math.max(last, Number(/^joint_blocks\.(\d+)\./.exec(name)?.[1] ?? -1))
  return last
}

function sd3Pieces(name: string, last: number): readonly TensorPiece[] {
  if (name === 'pos_embed') return renamed('pos_embed.pos_embed')
  const [, kind = ''] = /\.(weight|bias)$/.exec(name) ?? []
  // The final norm has its shift before its scale; diffusers' AdaLayerNormContinuous has the scale first.
  if (name === `final_layer.adaLN_modulation.1.${kind}`) return [{ name: `norm_out.linear.${kind}`, part: 'halves-exchanged' }]
  for (const [from, to] of Object.entries(outside)) if (name === `${from}.${kind}`) return renamed(`${to}.${kind}`)
  const [, block, stream, inner] = /^joint_blocks\.(\d+)\.(x_block|context_block)\.(.+)\.(?:weight|bias)$/.exec(name) ?? []
  if (block === undefined || stream === undefined || inner === undefined) return []
  const path = `transformer_blocks.${block}`
  if (inner.endsWith('.qkv')) {
    const names = projections[`${stream}.${inner.slice(0, -'.qkv'.length)}`] ?? []
    return thirds(names.map((to) => `${path}.${to}.${kind}`))
  }
  const to = streams[stream]?.[inner]
  if (to === undefined) return []
  const parameter = `${path}.${to}.${kind}`
  // In the last block, the norm of the context stream has its shift before its scale too.
  const ends = Number(block) === last && to === 'norm1_context.linear'
  return [{ name: parameter, part: ends ? 'halves-exchanged' : 'whole' }]
}
