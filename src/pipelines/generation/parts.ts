/** The networks of a pipeline by their roles, and its text encoders with their tokenizers. */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { ClipTextEncoder } from './clip-text-encoder.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import type { AutoencoderModel, DenoiserModel, TextEncoderModel } from '../../models/types.js'
import { hasRole, type Network } from '../bind-network.js'
import type { LoadedParts } from '../loading/read-parts.js'
import { autoencoderOf, denoiserOf } from '../planning/memory-needs.js'
import { T5TextEncoder } from './t5-text-encoder.js'

/** The two networks that every pipeline has. @throws CheckpointError `component-missing` */
export function imageNetworksOf({ networks }: LoadedParts): {
  readonly denoiser: Network<DenoiserModel>
  readonly vae: Network<AutoencoderModel>
} {
  const [denoiser, vae] = [denoiserOf(networks), autoencoderOf(networks)]
  if (denoiser === undefined || vae === undefined) {
    const component = denoiser === undefined ? 'denoiser' : 'autoencoder'
    throw new CheckpointError('component-missing', `The pipeline has no ${component}.`, { component })
  }
  return { denoiser, vae }
}

function textEncoderOf({ networks }: LoadedParts, name: string): Network<TextEncoderModel> | undefined {
  const network = networks.get(name)
  return network !== undefined && hasRole(network, 'text-encoder') ? network : undefined
}

/** A CLIP text encoder with its tokenizer, by the suffix of both names; null where the pipeline has none. */
export function clipEncoderOf(parts: LoadedParts, hosts: DeviceHosts, suffix: '' | '_2'): ClipTextEncoder | null {
  const network = textEncoderOf(parts, `text_encoder${suffix}`)
  const tokenizer = parts.tokenizers.get(`tokenizer${suffix}`)
  return network === undefined || !(tokenizer instanceof CLIPTokenizer)
    ? null
    : new ClipTextEncoder(network, tokenizer, hosts.of(network.name))
}

/** A T5 text encoder with its tokenizer, by the suffix of both names; null if the pipeline has none. */
export function t5EncoderOf(parts: LoadedParts, hosts: DeviceHosts, suffix: '_2' | '_3'): T5TextEncoder | null {
  const network = textEncoderOf(parts, `text_encoder${suffix}`)
  const tokenizer = parts.tokenizers.get(`tokenizer${suffix}`)
  return network === undefined || !(tokenizer instanceof T5Tokenizer)
    ? null
    : new T5TextEncoder(network, tokenizer, hosts.of(network.name))
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
