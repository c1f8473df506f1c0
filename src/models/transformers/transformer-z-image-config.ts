/** The config of ZImageTransformer2DModel. */

import type { Config } from '../../checkpoint/types.js'
import { ConfigReader } from '../config-reader.js'

/** The values of a ZImageTransformer2DModel config, checked. */
export interface ZImageConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Values of the class's keys that have no effect here. */
  readonly unusedValues: Config
  readonly inChannels: number
  readonly channels: number
  readonly layers: number
  readonly refinerLayers: number
  readonly heads: number
  readonly headSize: number
  readonly epsilon: number
  readonly qkNorm: boolean
  /** The width of the text encoder's hidden states. */
  readonly contextWidth: number
  /** The width of the time embedding. */
  readonly timeWidth: number
  readonly feedForwardWidth: number
  readonly timeScale: number
  readonly theta: number
  /** For each axis of the positions (prompt and image, row, column): the number of a head's values that it rotates, and the number of positions. */
  readonly axes: readonly number[]
  readonly positions: readonly number[]
}

/**
 * The patch of latent pixels that ZImagePipeline uses. A checkpoint may have layers for several patches; `key` names the layers of this
 * one.
 */
export const zImagePatch = { edge: 2, key: '2-1' } as const

/** Reads a config.json. @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config` */
export function readZImageConfig(config: Config): ZImageConfig {
  const reader = new ConfigReader('ZImageTransformer2DModel', config)
  const channels = reader.integer('dim', 3840, { min: 4, max: 32_768 })
  const heads = reader.integer('n_heads', 30, { min: 1, max: 1024 })
  const headSize = Math.floor(channels / heads)
  if (headSize * heads !== channels) throw reader.invalid('n_heads', `a divisor of dim, ${channels}`)
  const axes = reader.integers('axes_dims', [32, 48, 48], 3, { min: 2, max: 1024 })
  if (axes.some((size) => size % 2 !== 0) || axes.reduce((sum, size) => sum + size, 0) !== headSize)
    throw reader.invalid('axes_dims', `three even numbers with the sum dim / n_heads, ${headSize}`)
  checkPatches(reader)
  const result: Omit<ZImageConfig, 'ignoredKeys' | 'unusedValues'> = {
    inChannels: reader.integer('in_channels', 16, { min: 1, max: 1024 }),
    channels,
    layers: reader.integer('n_layers', 30, { min: 0, max: 256 }),
    refinerLayers: reader.integer('n_refiner_layers', 2, { min: 0, max: 64 }),
    heads,
    headSize,
    epsilon: reader.number('norm_eps', 1e-5, { min: 1e-12, max: 1 }),
    qkNorm: reader.boolean('qk_norm', true),
    contextWidth: reader.integer('cap_feat_dim', 2560, { min: 1, max: 65_536 }),
    timeWidth: Math.min(channels, 256),
    feedForwardWidth: Math.trunc((channels / 3) * 8),
    timeScale: reader.number('t_scale', 1000, { min: -1e9, max: 1e9 }),
    theta: reader.number('rope_theta', 256, { min: 1e-3, max: 1e12 }),
    axes,
    positions: reader.integers('axes_lens', [1024, 512, 512], 3, { min: 1, max: 2 ** 20 }),
  }
  // diffusers' class does not use `n_kv_heads`; `siglip_feat_dim` adds layers that ZImagePipeline does not run.
  reader.unused('n_kv_heads', heads)
  reader.unused('siglip_feat_dim', null)
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** Checks that one of the pairs of patch sizes is the one with which ZImagePipeline runs. */
function checkPatches(reader: ConfigReader): void {
  const [edges, depths] = [reader.raw('all_patch_size') ?? [2], reader.raw('all_f_patch_size') ?? [1]]
  if (!Array.isArray(edges) || !Array.isArray(depths) || edges.length !== depths.length)
    throw reader.invalid('all_patch_size', 'a list as long as all_f_patch_size')
  if (!edges.some((edge, place) => edge === zImagePatch.edge && depths[place] === 1))
    throw reader.invalid('all_patch_size', `a list with ${zImagePatch.edge}, at a place where all_f_patch_size has 1`)
}
