/** Decoding: from the denoiser's latents to images. */

import type { AutoencoderModel } from '../../models/types.js'
import { assertHealthy } from '../../runtime/health.js'
import type { Device } from '../../runtime/device.js'
import type { DeviceTensor } from '../../runtime/types.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import { float32Tensor } from '../tensors.js'
import type { ChannelScale } from './latent-scaling.js'
import { denormalize } from './image-processor.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import { concatBatch, withTemporary } from '../tensors.js'
import type { PlainTensor } from '../types.js'
import { VaeTiles } from './vae-tiles.js'
import { workInTiles, type Box } from './vae-tiling.js'

/** Converts latents [1, channels, height, width] from the denoiser's scale to the autoencoder's. Returns a new tensor. */
export async function scaleLatents(
  device: Device,
  latents: DeviceTensor,
  scales: readonly ChannelScale[],
  owner: string,
): Promise<DeviceTensor> {
  return withTemporary(async (keep) => {
    const [, , height = 0, width = 0] = latents.dims
    const shifted = scales.some(({ shift }) => shift !== 0)
    const ones = shifted ? [keep(device.upload(float32Tensor([1], Float32Array.of(1)), owner))] : []
    const scaled = ({ scale, shift }: ChannelScale, dims: readonly number[], offset: number) =>
      device.combine([{ tensor: latents, scale, offset }, ...ones.map((tensor) => ({ tensor, scale: shift }))], dims, owner)
    const [first = { scale: 1, shift: 0 }] = scales
    if (scales.every(({ scale, shift }) => scale === first.scale && shift === first.shift)) return scaled(first, latents.dims, 0)
    const pieces = scales.map((channel, index) => ({
      tensor: keep(scaled(channel, [1, 1, height, width], index * height * width)),
      at: [0, index, 0, 0],
    }))
    return device.assemble(pieces, latents.dims, owner)
  })
}

/**
 * Decodes latents [batch, channels, height, width] one image at a time. The result is that of decoding the whole batch, and less memory is
 * needed. An image that does not fit as a whole is decoded in tiles. Latents in host memory are uploaded to the autoencoder's device first.
 * Each image is added to `images` when it is done. Images that an earlier, failed attempt has added are not decoded again.
 * Returns [batch, height, width, channels] in 0…1.
 * @throws DeviceError `not-finite`, `all-zero`; CheckpointError `invalid-config`; AbortError
 */
export async function decodeLatents(
  vae: Network<AutoencoderModel>,
  latents: Value,
  scales: readonly ChannelScale[],
  host: ComponentHost,
  run: Run,
  tiles = new VaeTiles(vae, host, run),
  images: PlainTensor[] = [],
): Promise<PlainTensor> {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.dims
  const factor = vae.model.scaleFactor
  const { device } = host
  const decodeBox = async (onDevice: DeviceTensor, image: number, box: Box): Promise<PlainTensor> => {
    const size = [1, channels, box.height, box.width]
    const from = [image, 0, box.top, box.left]
    const sample = await withTemporary(async (keep) => {
      const part = keep(device.assemble([{ tensor: onDevice, at: [0, 0, 0, 0], from, size }], size, vae.name))
      const scaled = keep(await scaleLatents(device, part, scales, vae.name))
      return host.read(vae, { latents: scaled }, 'sample', run)
    })
    assertHealthy(sample, "the autoencoder's output")
    const [rows, columns] = [box.height * factor, box.width * factor]
    return { dims: [1, sample.length / (rows * columns), rows, columns], data: sample }
  }
  return withTemporary(async (keep) => {
    const onDevice = 'read' in latents ? latents : keep(device.upload(latents, vae.name))
    for (let image = images.length; image < batch; image++) {
      const decode = (box: Box) => decodeBox(onDevice, image, box)
      const tile = tiles.edge('decoder', { height, width })
      const decoded =
        tile === undefined
          ? await decode({ top: 0, left: 0, height, width })
          : await workInTiles({ height, width }, { from: tile, to: tile * factor }, vae.model.tileJoint, decode)
      images.push(denormalize(decoded))
    }
    return concatBatch(images)
  })
}
