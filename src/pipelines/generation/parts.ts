/** Takes what a pipeline class needs out of its loaded parts. */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import { CLIPTokenizer } from '../../tokenizers/clip-tokenizer.js'
import { T5Tokenizer } from '../../tokenizers/t5-tokenizer.js'
import { ClipTextEncoder } from './clip-text-encoder.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import type { AutoencoderModel, DenoiserModel, NetworkModel, TextEncoderModel } from '../../models/types.js'
import { hasRole, type Network } from '../bind-network.js'
import type { LoadedParts } from '../loading/read-parts.js'
import { T5TextEncoder } from './t5-text-encoder.js'

/** A network that the pipeline cannot do without. @throws CheckpointError `component-missing` */
export function networkOf<Role extends NetworkModel['role']>(parts: LoadedParts, name: string, role: Role) {
  const network = parts.networks.get(name)
  if (network === undefined || !hasRole(network, role))
    throw new CheckpointError('component-missing', `The pipeline has no ${name}.`, { component: name })
  return network
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

/** The T5 text encoder with its tokenizer; null where the pipeline has none. */
export function t5EncoderOf(parts: LoadedParts, hosts: DeviceHosts): T5TextEncoder | null {
  const network = textEncoderOf(parts, 'text_encoder_3')
  const tokenizer = parts.tokenizers.get('tokenizer_3')
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
