/**
 * AutoencoderKLFlux2 of diffusers: an AutoencoderKL with packed and normalized latents. In diffusers the pipelines pack each square of 2×2
 * latent pixels into one pixel with four times the channels, and normalize it by the statistics of the class's batch norm. Here the graphs
 * do both, because the statistics are weights. So the graphs' `latents` are those that the denoiser takes, and each of their pixels is as
 * wide as two latent pixels of AutoencoderKL.
 */

import type { Config } from '../../checkpoint/types.js'
import { InputError } from '../../errors.js'
import { scalar } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, div, mul, sqrt, sub } from '../../onnx/ops-math.js'
import { dimension, reshape, slice, transpose } from '../../onnx/ops-shape.js'
import type { Shapes, ValueInfo } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import type { AutoencoderDefinition, Extent } from '../types.js'
import { klWeightNames, writeKlDecoder, writeKlEncoder, type LatentForm } from './kl-encoder-decoder.js'
import { readDecoderChannels, readKlSettings, type KlSettings } from './kl-settings.js'

interface AutoencoderKLFlux2Config extends KlSettings {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Keys of the class whose values have no effect here. */
  readonly unusedValues: Config
  /** The number that is added to the variances. */
  readonly epsilon: number
}

/** The edge of the squares of latent pixels that become one pixel. diffusers' pipelines fix this number. */
const pack = 2

function readConfig(config: Config): AutoencoderKLFlux2Config {
  const reader = new ConfigReader('AutoencoderKLFlux2', config)
  const settings = readKlSettings(reader, {
    levels: 4,
    channels: [128, 256, 512, 512],
    layers: 2,
    latentChannels: 32,
    sampleSize: 1024,
  })
  const decoderChannels = readDecoderChannels(reader, settings)
  const epsilon = reader.number('batch_norm_eps', 1e-4, { min: 0, max: Number.MAX_VALUE })
  // Only training uses this key.
  reader.unused('batch_norm_momentum', 0.1)
  // The published configs have this key, which an older release of the class read. This network always computes in float32.
  reader.unused('force_upcast', true)
  readPatchSize(reader)
  return { ...settings, decoderChannels, epsilon, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** Checks `patch_size`. Only the product of its two numbers has an effect: it decides how many statistics there are. */
function readPatchSize(reader: ConfigReader): void {
  const value = reader.raw('patch_size') ?? [pack, pack]
  const numbers = Array.isArray(value) ? value : [value]
  const product = numbers.reduce<number>((result, item) => result * (typeof item === 'number' ? item : Number.NaN), 1)
  if (product !== pack * pack) throw reader.invalid('patch_size', `two numbers whose product is ${pack * pack}`)
}

/** The statistics of each channel, [channels, 1, 1]. */
function statistics(
  graph: GraphBuilder,
  channels: number,
  epsilon: number,
): { readonly mean: ValueInfo; readonly deviation: ValueInfo } {
  const dims = [channels, 1, 1]
  const variance = graph.weight('bn.running_var', dims)
  return { mean: graph.weight('bn.running_mean', dims), deviation: sqrt(graph, add(graph, variance, scalar(graph, epsilon))) }
}

/** Converts AutoencoderKL's moments to packed and normalized latents, and such latents back to those of AutoencoderKL. */
function packedLatents({ latentChannels, epsilon }: AutoencoderKLFlux2Config): LatentForm {
  const channels = latentChannels * pack * pack
  return {
    channels,
    toDecoder: (graph, latents) => {
      const [batch, height, width] = [dimension(latents, 0), dimension(latents, 2), dimension(latents, 3)]
      const { mean, deviation } = statistics(graph, channels, epsilon)
      const scaled = add(graph, mul(graph, latents, deviation), mean)
      const squares = reshape(graph, scaled, [batch * latentChannels, pack, pack, height, width])
      const rows = transpose(graph, squares, [0, 3, 1, 4, 2])
      return reshape(graph, rows, [batch, latentChannels, height * pack, width * pack])
    },
    // Only the mean: the pipelines do not draw from the distribution.
    fromMoments: (graph, moments) => {
      const [batch, height, width] = [dimension(moments, 0), dimension(moments, 2), dimension(moments, 3)]
      const mode = slice(graph, moments, 1, 0, latentChannels)
      const squares = reshape(graph, mode, [batch * latentChannels, height / pack, pack, width / pack, pack])
      const packed = reshape(graph, transpose(graph, squares, [0, 2, 4, 1, 3]), [batch, channels, height / pack, width / pack])
      const { mean, deviation } = statistics(graph, channels, epsilon)
      return div(graph, sub(graph, packed, mean), deviation)
    },
  }
}

/** @throws InputError `invalid-shape` for a height or width that is not a multiple of `multipleOf` */
function checkMultiples(size: Extent, multipleOf: number): void {
  for (const [key, value] of Object.entries(size)) {
    if (value % multipleOf !== 0)
      throw new InputError('invalid-shape', `${key} is ${value}; allowed: multiples of ${multipleOf}`, { key, value, multipleOf })
  }
}

const facts = {
  className: 'AutoencoderKLFlux2',
  library: 'diffusers',
  role: 'autoencoder',
  weights: {
    ...klWeightNames,
    unused: [...klWeightNames.unused, [/^bn\.num_batches_tracked$/, 'only training uses it']],
  },
  // Quantization would save little and affect every pixel: the few Linear weights are in the attention of the middle blocks.
  quantizable: false,
} as const satisfies Omit<AutoencoderDefinition, 'fromConfig'>

/** The autoencoder of FLUX.2, also with its small decoder. */
export const AutoencoderKLFlux2: AutoencoderDefinition<AutoencoderKLFlux2Config> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels } = config
    const form = packedLatents(config)
    const latentChannels = form.channels
    const scaleFactor = pack * 2 ** (config.channels.length - 1)
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: 4, width: 4 },
      shapes: ({ height, width }, { part } = {}): Shapes =>
        part === 'encoder'
          ? { sample: [1, inChannels, height * scaleFactor, width * scaleFactor] }
          : { latents: [1, latentChannels, height, width] },
      write: (shapes, options, { part } = {}) => {
        const [batch = 0, , height = 0, width = 0] = (part === 'encoder' ? shapes['sample'] : shapes['latents']) ?? []
        if (part === 'encoder') checkMultiples({ height, width }, scaleFactor)
        return (part === 'encoder' ? writeKlEncoder : writeKlDecoder)(config, { batch, height, width }, options, form)
      },
      // The decoder was trained in bfloat16, which has float32's range, so float16 may overflow. In AutoencoderKL's configs `force_upcast`
      // says this; this class has no such key.
      upcast: true,
      latentChannels,
      scaleFactor,
      tile: Math.max(1, Math.floor(config.sampleSize / scaleFactor)),
      tileJoint: 'fading',
      // A packed latent pixel is as wide as two unpacked ones, so a tile of half the usual 32 covers as many image pixels.
      smallestTile: 32 / pack,
      encoderOutput: 'latents',
      hasEncoder: (tensors) => [...tensors].some((name) => name.startsWith('encoder.')),
      // The pipelines must not scale: the graphs normalize by the statistics of the batch norm.
      scaling: { factor: 1, shift: 0, mean: null, std: null },
    }
  },
}
