/**
 * The component `preview_decoder`: a small autoencoder that decodes the latents of each step for previews. No checkpoint names it, so it is added to the
 * pipeline when the caller passes one.
 */

import type { Layout } from '../../checkpoint/layouts/layout.js'
import { AutoencoderTiny } from '../../models/autoencoders/autoencoder-tiny.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { LoadPipelineOptions } from '../types.js'

/** The component's name. */
export const previewDecoderName = 'preview_decoder'

/** Whether the caller passes a decoder for previews. */
function isWanted({ components = {} }: LoadPipelineOptions): boolean {
  return Object.hasOwn(components, previewDecoderName) && components[previewDecoderName] !== null
}

/** A pipeline class with the decoder as its last network, so that `vae` stays the first autoencoder. */
export function specWithPreviews<Spec extends PipelineSpec>(spec: Spec, options: LoadPipelineOptions): Spec {
  if (!isWanted(options)) return spec
  return { ...spec, networks: { ...spec.networks, [previewDecoderName]: [AutoencoderTiny] } }
}

/** A checkpoint with a place for the decoder. */
export function layoutWithPreviews(layout: Layout, options: LoadPipelineOptions): Layout {
  if (!isWanted(options)) return layout
  return { ...layout, components: new Map([...layout.components, [previewDecoderName, null]]) }
}
