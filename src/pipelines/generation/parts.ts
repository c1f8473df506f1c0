/** The denoiser and the autoencoder of a pipeline, which must have the same latents. */

import type { ImageNetworks } from '../loading/open-pipeline.js'
import { CheckpointError, UnsupportedError } from '../../errors.js'
import type { AutoencoderModel, DenoiserModel } from '../../models/types.js'
import type { Network } from '../bind-network.js'
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

/** The denoiser's channels of latents, which must be the autoencoder's. @throws UnsupportedError `unsupported-config` */
export function latentChannels({ model: denoiser }: Network<DenoiserModel>, { model: vae }: Network<AutoencoderModel>): number {
  const { channels } = denoiser.latents
  const own = vae.latentChannels
  if (channels !== own)
    throw new UnsupportedError(
      'unsupported-config',
      `in_channels ${JSON.stringify(channels)} of ${denoiser.className} is not supported by a text-to-image pipeline; supported: ${JSON.stringify(own)}, the autoencoder's latent channels.`,
      { className: denoiser.className, key: 'in_channels', value: JSON.stringify(channels), allowed: [JSON.stringify(own)] },
    )
  return channels
}
