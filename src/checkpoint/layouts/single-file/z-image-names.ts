/**
 * The names of the transformer's tensors in single files of Z-Image: mostly those of diffusers, but queries, keys and values are one matrix. Source: diffusers'
 * `convert_z_image_transformer_checkpoint_to_diffusers`.
 */

import { renamed, thirds, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

/** The beginnings of names that differ: diffusers has these layers once for each patch size, and the published models have one patch size. */
const outside: readonly (readonly [RegExp, string])[] = [
  [/^final_layer\./, 'all_final_layer.2-1.'],
  [/^x_embedder\./, 'all_x_embedder.2-1.'],
]

const inAttention: Readonly<Record<string, string>> = { k_norm: 'norm_k', q_norm: 'norm_q', out: 'to_out.0' }

/** A ZImageTransformer2DModel whose tensors begin with this prefix; it is '' in files of the transformer alone. */
export const zImageNames = (prefix: string): OriginalNames => ({ id: 'z-image', prefix, pieces: () => zImagePieces })

function zImagePieces(name: string): readonly TensorPiece[] {
  // A norm that no code uses.
  if (name === 'norm_final.weight') return []
  const [, path, layer = '', kind] = /^(.+\.attention)\.(\w+)\.(weight|bias)$/.exec(name) ?? []
  if (layer === 'qkv') return thirds(['to_q', 'to_k', 'to_v'].map((to) => `${path}.${to}.${kind}`))
  if (Object.hasOwn(inAttention, layer)) return renamed(`${path}.${inAttention[layer]}.${kind}`)
  return renamed(outside.reduce((now, [old, to]) => now.replace(old, to), name))
}
