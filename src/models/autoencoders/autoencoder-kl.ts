/**
 * AutoencoderKL of diffusers: the encoder (image to moments) and the decoder (latents to image) as two graphs. The pipeline scales and shifts
 * latents, and draws them from the moments.
 */

import type { Config } from '../../checkpoint/types.js'
import type { Shapes } from '../../onnx/types.js'
import { isTruthy } from '../../util/truthy.js'
import { ConfigReader } from '../config-reader.js'
import type { AutoencoderDefinition, LatentStatistics } from '../types.js'
import { klWeightNames, writeKlDecoder, writeKlEncoder } from './kl-encoder-decoder.js'
import { readKlSettings, type KlSettings } from './kl-settings.js'

interface AutoencoderConfig extends KlSettings {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  readonly upcast: boolean
  readonly scaling: LatentStatistics
}

function readConfig(config: Config): AutoencoderConfig {
  const reader = new ConfigReader('AutoencoderKL', config)
  const settings = readKlSettings(reader, { levels: 1, channels: [64], layers: 1, latentChannels: 4, sampleSize: 32 })
  const upcast = reader.raw('force_upcast') !== false
  const scaling = readScaling(reader, settings.latentChannels)
  return { ...settings, upcast, scaling, ignoredKeys: reader.finish() }
}

/**
 * Reads the statistics of the latents. Each value but the scaling factor is checked when a pipeline class reads it: as in diffusers, a
 * pipeline class that does not use the value accepts any.
 */
function readScaling(reader: ConfigReader, channels: number): LatentStatistics {
  const bounds = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  const factor = reader.number('scaling_factor', 0.18215, bounds)
  if (!Number.isFinite(1 / factor)) throw reader.invalid('scaling_factor', 'a number other than 0 whose inverse is finite')
  const perChannel = (key: string) => {
    const value = reader.raw(key) ?? null
    if (value === null) return null
    if (!Array.isArray(value) || value.length !== channels || !value.every((item): item is number => Number.isFinite(item)))
      throw reader.invalid(key, `a list of ${channels} numbers`)
    return value
  }
  const others = ['shift_factor', 'latents_mean', 'latents_std'].map((key) => [key, reader.raw(key)] as const)
  return {
    factor,
    given: Object.fromEntries(others.filter(([, value]) => isTruthy(value, false))),
    get shift() {
      return reader.number('shift_factor', 0, bounds)
    },
    get mean() {
      return perChannel('latents_mean')
    },
    get std() {
      return perChannel('latents_std')
    },
  }
}

const facts = {
  className: 'AutoencoderKL',
  library: 'diffusers',
  role: 'autoencoder',
  weights: klWeightNames,
  // Quantization would save little and affect every pixel: the Linear weights, a hundredth of all, are in the attention of the middle blocks.
  quantizable: false,
} as const satisfies Omit<AutoencoderDefinition, 'fromConfig'>

/** The autoencoder of all Stable Diffusion models, FLUX.1, Chroma and Z-Image. */
export const AutoencoderKL: AutoencoderDefinition<AutoencoderConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels, latentChannels, upcast, scaling } = config
    const scaleFactor = 2 ** (config.channels.length - 1)
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      smallest: { height: 8, width: 8 },
      shapes: ({ height, width }, { part } = {}): Shapes =>
        part === 'encoder'
          ? { sample: [1, inChannels, height * scaleFactor, width * scaleFactor] }
          : { latents: [1, latentChannels, height, width] },
      write: (shapes, options, { part } = {}) => {
        const [batch = 0, , height = 0, width = 0] = (part === 'encoder' ? shapes['sample'] : shapes['latents']) ?? []
        return (part === 'encoder' ? writeKlEncoder : writeKlDecoder)(config, { batch, height, width }, options)
      },
      upcast,
      latentChannels,
      scaleFactor,
      tile: Math.max(1, Math.floor(config.sampleSize / scaleFactor)),
      tileJoint: 'fading',
      encoderOutput: 'moments',
      hasEncoder: (tensors) => [...tensors].some((name) => name.startsWith('encoder.')),
      scaling,
    }
  },
}
