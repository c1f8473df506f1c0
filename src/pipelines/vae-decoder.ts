/** The autoencoder's way out: latents as the denoiser leaves them to images. */

import type { Config } from '../checkpoint/types.js'
import { CheckpointError } from '../errors.js'
import { autoencoderKLScale } from '../models/autoencoder-kl.js'
import { assertHealthy } from '../runtime/health.js'
import { hostTensor, type ComponentHost } from './component-host.js'
import { denormalize } from './image-processor.js'
import type { Network } from './networks.js'
import type { Run } from './run-hooks.js'
import { concatBatch } from './tensors.js'
import type { PlainTensor } from './types.js'
import { decodeTiled, type DecodeTile } from './vae-tiling.js'

/** How a family brings latents to the autoencoder's scale. */
export type LatentScaling = 'scale' | 'scale-or-statistics' | 'scale-and-shift'

function number(config: Config, key: string, fallback: number): number {
  const value = config[key] ?? fallback
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new CheckpointError('invalid-config', `${key} of AutoencoderKL is ${JSON.stringify(value)}; expected a number.`, {
      key,
    })
  return value
}

function numbers(config: Config, key: string, count: number): readonly number[] | null {
  const value = config[key] ?? null
  if (value === null) return null
  if (!Array.isArray(value) || value.length !== count || !value.every((item) => Number.isFinite(item)))
    throw new CheckpointError('invalid-config', `${key} of AutoencoderKL is not a list of ${count} numbers.`, { key })
  return value as readonly number[]
}

/** `latents / scaling_factor`, or with the shift or the statistics that the config has, each step rounded to float32 as torch's. */
export function unscaleLatents(latents: PlainTensor, config: Config, scaling: LatentScaling): PlainTensor {
  const factor = Math.fround(number(config, 'scaling_factor', 0.18215))
  const [, channels = 0, height = 0, width = 0] = latents.dims
  const mean = scaling === 'scale-or-statistics' ? numbers(config, 'latents_mean', channels) : null
  const std = scaling === 'scale-or-statistics' ? numbers(config, 'latents_std', channels) : null
  const shift = scaling === 'scale-and-shift' ? number(config, 'shift_factor', 0) : 0
  const pixels = height * width
  const data = latents.data.map((value, i) => {
    if (mean === null || std === null) return Math.fround(value / factor) + shift
    const channel = Math.floor(i / pixels) % channels
    return Math.fround(Math.fround(value * Math.fround(std[channel] ?? 1)) / factor) + Math.fround(mean[channel] ?? 0)
  })
  return { dims: latents.dims, data }
}

/** Image pixels per latent pixel. */
export function vaeScaleFactor(vae: Network): number {
  return autoencoderKLScale(vae.config)
}

/**
 * Decodes image by image, which gives the same as all at once and needs less memory, and in tiles where that does not fit either. Returns
 * [batch, height, width, channels] in 0…1.
 */
export async function decodeLatents(
  vae: Network,
  latents: PlainTensor,
  scaling: LatentScaling,
  host: ComponentHost,
  run: Run,
): Promise<PlainTensor> {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.dims
  const unscaled = unscaleLatents(latents, vae.config, scaling)
  const factor = vaeScaleFactor(vae)
  const size = channels * height * width
  const dims = [1, channels, height, width]
  const decode: DecodeTile = async (part) => {
    const { sample } = await host.run(vae, { latents: hostTensor(part.dims, part.data) }, ['sample'], run)
    assertHealthy(sample, "the autoencoder's output")
    const [, , rows = 0, columns = 0] = part.dims
    const pixels = rows * factor * columns * factor
    return { dims: [1, sample.length / pixels, rows * factor, columns * factor], data: sample }
  }
  const images: PlainTensor[] = []
  for (let image = 0; image < batch; image++) {
    const one = { dims, data: unscaled.data.slice(image * size, (image + 1) * size) }
    const as = (tile: number | undefined) => (tile === undefined ? decode(one) : decodeTiled(one, tile, factor, decode))
    const tile = host.decodeTile(vae, dims)
    const decoded = await as(tile).catch((error: unknown) => {
      // Too little memory for that: the host may have smaller tiles to try.
      const smaller = host.decodeTile(vae, dims)
      if (smaller === tile) throw error
      run.warn(
        'vae-tiled',
        `The image did not fit into memory as a whole; it is decoded in tiles of ${smaller ?? 0} latent pixels.`,
      )
      return as(smaller)
    })
    images.push(denormalize(decoded))
  }
  return concatBatch(images)
}
