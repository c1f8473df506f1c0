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

type Components = NonNullable<LoadPipelineOptions['components']>

/** The caller's components, with the decoder that is published for the family in place of `auto`. If none is published, the preview decoder is left out. */
export function namedComponents({ components = {} }: LoadPipelineOptions, { previewDecoder }: PipelineSpec): Components {
  if (!Object.hasOwn(components, previewDecoderName)) return components
  const { [previewDecoderName]: named = null, ...others } = components
  const reference = named === 'auto' ? previewDecoder : named
  return (reference ?? null) === null ? others : { ...others, [previewDecoderName]: reference as Components[string] }
}

/** A pipeline class with the decoder as its last network, so that `vae` stays the first autoencoder. */
export function specWithPreviews<Spec extends PipelineSpec>(spec: Spec, components: Components): Spec {
  if (!Object.hasOwn(components, previewDecoderName)) return spec
  return { ...spec, networks: { ...spec.networks, [previewDecoderName]: [AutoencoderTiny] } }
}

/** A checkpoint with the decoder among its components, but without files for it: the caller names its repository. */
export function layoutWithPreviews(layout: Layout, components: Components): Layout {
  if (!Object.hasOwn(components, previewDecoderName)) return layout
  return { ...layout, components: new Map([...layout.components, [previewDecoderName, null]]) }
}
