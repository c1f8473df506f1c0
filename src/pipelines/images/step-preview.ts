/** Previews that the pipeline's `preview_decoder` makes of the latents of a step. */

import type { AutoencoderModel } from '../../models/types.js'
import type { DeviceTensor } from '../../runtime/types.js'
import type { Network } from '../bind-network.js'
import type { ComponentHost } from '../execution/component-host.js'
import type { Run } from '../run.js'
import { float32Tensor, withTemporary } from '../tensors.js'
import type { PixelImage } from '../types.js'
import { toPixels } from './image-processor.js'
import type { ChannelScale } from './latent-scaling.js'
import { decodeLatents } from './vae-decode.js'

/** A network that decodes previews, the host of its device, and the scale of each channel from the denoiser's latents to the network's. */
export interface PreviewDecoder {
  readonly network: Network<AutoencoderModel>
  readonly host: ComponentHost
  readonly scales: readonly ChannelScale[]
}

/**
 * Decodes the first image of latents [batch, channels, height, width] on the device of `host`. `scale` gives noisy latents a standard deviation of about 1.
 * Null unless all components stay loaded on the decoder's device: otherwise each preview would unload the denoiser.
 * @throws as {@link decodeLatents}
 */
export async function decodePreview(
  { network, host, scales }: PreviewDecoder,
  latents: DeviceTensor,
  scale: number,
  denoiserHost: ComponentHost,
  run: Run,
): Promise<PixelImage | null> {
  if (host.offload !== 'resident') return null
  const [, ...rest] = latents.dims
  return withTemporary(async (keep) => {
    const dims = [1, ...rest]
    const scaled = keep(denoiserHost.device.combine([{ tensor: latents, scale }], dims, network.name))
    const given = host === denoiserHost ? scaled : float32Tensor(dims, await scaled.read())
    const [picture] = toPixels(await decodeLatents(network, given, scales, host, run))
    return picture ?? null
  })
}
