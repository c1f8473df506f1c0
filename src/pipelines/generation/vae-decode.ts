/** The autoencoder's way out: latents as the denoiser leaves them to images. */

import type { AutoencoderModel, Extent, LatentStatistics } from '../../models/types.js'
import { assertHealthy } from '../../runtime/health.js'
import type { DeviceTensor } from '../../runtime/types.js'
import { hostTensor, type ComponentHost } from '../execution/component-host.js'
import type { VaePart } from '../execution/host-plan.js'
import { withTemporary, type DeviceValues } from '../execution/device-values.js'
import { denormalize } from './image-processor.js'
import type { Network } from '../bind-network.js'
import type { Run } from '../run.js'
import { concatBatch } from './tensors.js'
import type { PlainTensor } from '../types.js'
import { workInTiles, type Box } from './vae-tiling.js'
import type { Device } from '../../runtime/device.js'

/** How a family brings latents to the autoencoder's scale. */
export type LatentScaling = 'scale' | 'scale-or-statistics' | 'scale-and-shift'

/** How one channel of latents comes to the autoencoder's scale: `scale` times, and `shift` added. */
export interface ChannelScale {
  readonly scale: number
  readonly shift: number
}

/** diffusers' `latents / scaling_factor`, or with the shift or the statistics that the config has, for each channel. */
export function latentScales(
  { factor, shift: usualShift, mean, std }: LatentStatistics,
  scaling: LatentScaling,
  channels: number,
): readonly ChannelScale[] {
  const shift = scaling === 'scale-and-shift' ? usualShift : 0
  return Array.from({ length: channels }, (_, channel) =>
    scaling !== 'scale-or-statistics' || mean === null || std === null
      ? { scale: 1 / factor, shift }
      : { scale: (std[channel] ?? 1) / factor, shift: mean[channel] ?? 0 },
  )
}

/** Latents [1, channels, height, width] at the autoencoder's scale, a new tensor. */
export async function scaleLatents(
  device: Device,
  latents: DeviceTensor,
  scales: readonly ChannelScale[],
  owner: string,
): Promise<DeviceTensor> {
  return withTemporary(async (keep) => {
    const [, , height = 0, width = 0] = latents.dims
    const shifted = scales.some(({ shift }) => shift !== 0)
    const ones = shifted ? [keep(device.upload(hostTensor([1], Float32Array.of(1)), owner))] : []
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
 * Decodes latents on the autoencoder's device image by image, which gives the same as all at once and needs less memory, and in tiles where
 * that does not fit either. Returns [batch, height, width, channels] in 0…1.
 */
export async function decodeLatents(
  vae: Network<AutoencoderModel>,
  source: DeviceValues<'latents'>,
  scaling: LatentScaling,
  host: ComponentHost,
  run: Run,
): Promise<PlainTensor> {
  const [batch = 0, channels = 0, height = 0, width = 0] = (await source.get()).latents.dims
  const scales = latentScales(vae.model.scaling, scaling, channels)
  const factor = vae.model.scaleFactor
  const decodeBox = async (image: number, box: Box): Promise<PlainTensor> => {
    const size = [1, channels, box.height, box.width]
    const from = [image, 0, box.top, box.left]
    const sample = await withTemporary(async (keep) => {
      const { device } = host
      const { latents } = await source.get()
      const part = keep(device.assemble([{ tensor: latents, at: [0, 0, 0, 0], from, size }], size, vae.name))
      const scaled = keep(await scaleLatents(device, part, scales, vae.name))
      return host.readOnce(vae, { latents: scaled }, 'sample', run)
    })
    assertHealthy(sample, "the autoencoder's output")
    const [rows, columns] = [box.height * factor, box.width * factor]
    return { dims: [1, sample.length / (rows * columns), rows, columns], data: sample }
  }
  const tiles = tilesOf(vae, { height, width }, 'decoder', host, run)
  const images: PlainTensor[] = []
  for (let image = 0; image < batch; image++) {
    const box = (box: Box) => decodeBox(image, box)
    const decode = async () => {
      const tile = tiles()
      if (tile === undefined) return box({ top: 0, left: 0, height, width })
      return workInTiles({ height, width }, { from: tile, to: tile * factor }, box)
    }
    const decoded = await host.recovering(vae, run, decode, async () => source.get(), 'decoder')
    images.push(denormalize(decoded))
  }
  return concatBatch(images)
}

/**
 * Tells in each try the edge of the tiles for half an autoencoder, undefined for the whole: too little memory for one makes for smaller tiles in
 * the next, which the caller is warned of.
 */
export function tilesOf(
  vae: Network<AutoencoderModel>,
  size: Extent,
  part: VaePart,
  host: ComponentHost,
  run: Run,
): () => number | undefined {
  const usual = host.vaeTile(vae, size, part)
  return () => {
    const tile = host.vaeTile(vae, size, part)
    if (tile === undefined || tile === usual) return tile
    const wanted = usual === undefined ? 'as a whole' : `in tiles of ${usual} latent pixels`
    const message = `The image did not fit into memory ${wanted}; it is ${part === 'decoder' ? 'decoded' : 'encoded'} in tiles of ${tile} latent pixels.`
    run.warn('vae-tiled', message, { once: true })
    return tile
  }
}
