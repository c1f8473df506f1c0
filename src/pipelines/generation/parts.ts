/** The denoiser and the autoencoder of a pipeline. loading/check-fit.ts has checked that they have the same latents. */

import type { ImageNetworks } from '../loading/open-pipeline.js'
import { CheckpointError } from '../../errors.js'
import type { LoadedParts } from '../loading/read-parts.js'
import { autoencoderOf, denoiserOf } from '../planning/memory-needs.js'

/** The two networks that every pipeline has. @throws CheckpointError `component-missing` */
export function imageNetworksOf({ networks }: LoadedParts): ImageNetworks {
  const [denoiser, vae] = [denoiserOf(networks), autoencoderOf(networks)]
  if (denoiser === undefined || vae === undefined) {
    const component = denoiser === undefined ? 'denoiser' : 'autoencoder'
    throw new CheckpointError('component-missing', `The pipeline has no ${component}.`, { component })
  }
  return { denoiser, vae }
}
