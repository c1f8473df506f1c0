/**
 * The names of text encoders' tensors in single files: of transformers (CLIP, T5), and of OpenCLIP, which has queries, keys and values in one matrix
 * and its text projection transposed. Which tensors diffusers takes: `convert_ldm_clip_checkpoint`, `convert_open_clip_checkpoint`.
 */

import type { Config } from '../../types.js'
import { renamed, thirds, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

/** An encoder under the names of transformers, after a prefix. */
export const transformersNames = (prefix: string): OriginalNames => ({
  id: 'transformers-1',
  prefix,
  pieces: () => renamed,
})

/** A CLIPTextModel of Stable Diffusion 1. Some files were saved by a class that has no `text_model` in its names. */
export const clipNames = (prefix: string): OriginalNames => ({
  id: 'clip-1',
  prefix,
  pieces: () => (name) => renamed(/^(?:embeddings|encoder|final_layer_norm)\./.test(name) ? `text_model.${name}` : name),
})

/**
 * The first text encoder of Stable Diffusion 3 and of FLUX.1. For Stable Diffusion 3, diffusers sets the text projection to the identity,
 * whatever the file has. The class of FLUX.1's encoder has no text projection.
 */
export const projectedClipNames = (prefix: string): OriginalNames => ({
  id: 'clip-identity-1',
  prefix,
  pieces: () => (name) => (name.startsWith('text_projection.') ? [] : renamed(name)),
  identities: (config) => {
    const { hidden_size: width } = config
    return typeof width === 'number' && hasProjection(config) ? [{ name: 'text_projection.weight', width }] : []
  },
})

const outside: Readonly<Record<string, TensorPiece>> = {
  positional_embedding: { name: 'text_model.embeddings.position_embedding.weight', part: 'whole' },
  'token_embedding.weight': { name: 'text_model.embeddings.token_embedding.weight', part: 'whole' },
  'ln_final.weight': { name: 'text_model.final_layer_norm.weight', part: 'whole' },
  'ln_final.bias': { name: 'text_model.final_layer_norm.bias', part: 'whole' },
}

const inLayer: Readonly<Record<string, string>> = {
  ln_1: 'layer_norm1',
  ln_2: 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
  'attn.out_proj': 'self_attn.out_proj',
}

/** A text encoder of OpenCLIP: of Stable Diffusion 2, or the second one of XL. */
export const openClipNames = (prefix: string): OriginalNames => ({
  id: 'open-clip-1',
  prefix,
  pieces: (config) => (name) => openClipPieces(name, config),
})

/**
 * The second text encoder of XL as converters of stable-diffusion.cpp name it in GGUF files: OpenCLIP's tensors under the names of transformers. Queries, keys and values are
 * three matrices or, in other versions of the converter, one. The text projection is OpenCLIP's.
 */
export const convertedOpenClipNames = (prefix: string): OriginalNames => ({
  id: 'converted-open-clip-1',
  prefix,
  pieces: (config) => (name) => {
    if (name === 'text_model.text_projection') return openClipPieces('text_projection', config)
    const [, path, kind] = /^(text_model\.encoder\.layers\.\d+\.self_attn)\.in_proj\.(weight|bias)$/.exec(name) ?? []
    return kind === undefined ? renamed(name) : thirds(['q', 'k', 'v'].map((letter) => `${path}.${letter}_proj.${kind}`))
  },
})

/** Whether a config is of a class with a text projection. */
function hasProjection({ architectures }: Config): boolean {
  return !Array.isArray(architectures) || architectures.includes('CLIPTextModelWithProjection')
}

function openClipPieces(name: string, { num_hidden_layers: layers, architectures }: Config): readonly TensorPiece[] {
  if (name === 'text_projection') {
    // Only the class with a projection has this parameter; Stable Diffusion 2's encoder is of the other class.
    return hasProjection({ architectures }) ? [{ name: 'text_projection.weight', part: 'transposed' }] : []
  }
  if (Object.hasOwn(outside, name)) return [outside[name]].filter((piece) => piece !== undefined)
  const [, layer, inner] = /^transformer\.resblocks\.(\d+)\.(.+)$/.exec(name) ?? []
  if (layer === undefined || inner === undefined) return []
  // Stable Diffusion 2 takes the state before OpenCLIP's last layer, so diffusers' encoder does not have that layer.
  if (typeof layers === 'number' && Number(layer) >= layers) return []
  const path = `text_model.encoder.layers.${layer}`
  const [, kind] = /^attn\.in_proj_(weight|bias)$/.exec(inner) ?? []
  if (kind !== undefined) return thirds(['q', 'k', 'v'].map((letter) => `${path}.self_attn.${letter}_proj.${kind}`))
  for (const [from, to] of Object.entries(inLayer)) {
    if (inner.startsWith(`${from}.`)) return renamed(`${path}.${to}${inner.slice(from.length)}`)
  }
  return []
}
