/**
 * The names of the transformer's tensors in single files of Chroma: those of FLUX.1 without the layers of the modulations. Chroma computes the
 * modulations from the timestep in one network, `distilled_guidance_layer`. Source: diffusers' `convert_chroma_transformer_checkpoint_to_diffusers`.
 */

import { fluxNames } from './flux-names.js'
import { renamed, type OriginalNames, type TensorPiece } from './tensor-pieces.js'

/** Layers of FLUX.1 that Chroma does not have. diffusers ignores them in a file. */
const ofFluxAlone =
  /^(?:time_in|vector_in|guidance_in)\.|^final_layer\.adaLN_modulation\.|\.(?:img_mod|txt_mod|modulation)\.lin\./

/** A ChromaTransformer2DModel whose tensors begin with this prefix; it is '' in files of the transformer alone. */
export const chromaNames = (prefix: string): OriginalNames => ({
  id: 'chroma',
  prefix,
  pieces: (config, originals) => {
    const shared = fluxNames(prefix).pieces(config, originals)
    return (name) => (ofFluxAlone.test(name) ? [] : (guidancePieces(name) ?? shared(name)))
  },
})

/** The parameters of `distilled_guidance_layer`; undefined for other tensors. */
function guidancePieces(name: string): readonly TensorPiece[] | undefined {
  const [, layer = '', inner = '', kind = ''] =
    /^distilled_guidance_layer\.(in_proj|out_proj|norms\.\d+|layers\.\d+)(\.(?:in|out)_layer)?\.(weight|bias|scale)$/.exec(
      name,
    ) ?? []
  if (layer === '') return undefined
  const path = `distilled_guidance_layer.${layer}`
  if (layer.startsWith('norms.')) return renamed(`${path}.weight`)
  return renamed(`${path}${{ '.in_layer': '.linear_1', '.out_layer': '.linear_2' }[inner] ?? ''}.${kind}`)
}
