/** The size of image that a denoiser was made for: diffusers' `default_sample_size`. */

import type { Config } from '../checkpoint/types.js'
import type { Network } from './bind-network.js'

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
