/** The denoiser, the autoencoder and the preview decoder of a pipeline. loading/check-fit.ts has checked that they have the same latents. */

import type { ImageNetworks } from '../loading/open-pipeline.js'
import { hasRole, type Network } from '../bind-network.js'
import type { AutoencoderModel } from '../../models/types.js'
import { previewDecoderName } from '../loading/preview-decoder.js'
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

/** The network that decodes previews, where the caller passed one. */
export function previewNetworkOf({ networks }: LoadedParts): Network<AutoencoderModel> | undefined {
  const network = networks.get(previewDecoderName)
  return network !== undefined && hasRole(network, 'autoencoder') ? network : undefined
}
