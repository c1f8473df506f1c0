/** The size of image that a denoiser was made for: diffusers' `default_sample_size`. */

import type { Config } from '../checkpoint/types.js'
import type { Network } from './bind-network.js'
import { autoencoderKLScale } from '../models/autoencoders/autoencoder-kl.js'

/** `sample_size` of a denoiser's config, in latent pixels: one edge, or [height, width]. */
export function sampleSize({ className, config }: Pick<Network, 'className' | 'config'>): {
  readonly width: number
  readonly height: number
} {
  const size = config['sample_size']
  if (Array.isArray(size) && typeof size[0] === 'number' && typeof size[1] === 'number')
    return { width: size[1], height: size[0] }
  // Stable Diffusion's UNet, without SDXL's sizes among its conditions, is the one that starts from 64.
  const isFirst = className === 'UNet2DConditionModel' && (config['addition_embed_type'] ?? null) === null
  let edge = typeof size === 'number' ? size : isFirst ? 64 : 128
  // Configs of before diffusers 0.9 say 32 and mean 64.
  if (isFirst && isBefore09(config)) edge = Math.max(edge, 64)
  return { width: edge, height: edge }
}

/** Latent pixels that a denoiser takes together: an image's sizes are multiples of so many. */
export function patchSize({ className, config }: Pick<Network, 'className' | 'config'>): number {
  if (className !== 'SD3Transformer2DModel') return 1
  const size = config['patch_size']
  return typeof size === 'number' ? size : 2
}

function isBefore09({ _diffusers_version: written }: Config): boolean {
  const version = typeof written === 'string' ? /^(\d+)\.(\d+)/.exec(written) : null
  return version !== null && Number(version[1]) === 0 && Number(version[2]) < 9
}

/** The smallest tile that is taken for want of memory, in latent pixels. Smaller ones show in the image. */
export const smallestTile = 32

/** Edge of diffusers' tiles, in latent pixels: the size that the autoencoder was made for. */
export function autoencoderKLTile(config: Config): number {
  const size: unknown = Array.isArray(config['sample_size']) ? config['sample_size'][0] : config['sample_size']
  const pixels = typeof size === 'number' && Number.isInteger(size) && size > 0 ? size : 32
  return Math.max(1, Math.floor(pixels / autoencoderKLScale(config)))
}

/** Height and width. */
export interface Extent {
  readonly height: number
  readonly width: number
}

/**
 * How an autoencoder can work on an image of this size in latent pixels, the best first: undefined stands for the whole, a number is the
 * edge of tiles. Where `tiling` asks for tiles they are diffusers'; else tiles are for want of memory, and none is below {@link smallestTile}.
 */
export function tileChoices(config: Config, { height, width }: Extent, tiling: boolean | undefined): (number | undefined)[] {
  const longest = Math.max(height, width)
  if (tiling === false) return [undefined]
  const made = autoencoderKLTile(config)
  const edges = [tiling === true ? made : Math.max(made, smallestTile)]
  for (let edge = made; edge > smallestTile;) {
    edge = Math.max(smallestTile, Math.floor(edge / 8) * 4)
    edges.push(edge)
  }
  const tiles = edges.filter((edge) => edge < longest)
  return tiling === true && made < longest ? tiles : [undefined, ...tiles]
}

/** Image pixels per latent pixel. */
export function vaeScaleFactor(vae: Network): number {
  return autoencoderKLScale(vae.config)
}
