/** The config keys that AutoencoderKL and AutoencoderKLFlux2 share. */

import type { ConfigReader } from '../config-reader.js'

/** The encoder and the decoder that a config describes. */
export interface KlSettings {
  readonly inChannels: number
  readonly outChannels: number
  /** Channels of the latents that the decoder's first convolution takes. */
  readonly latentChannels: number
  /** Widths of the encoder's levels, from the image to the latents. */
  readonly channels: readonly number[]
  /** Widths of the decoder's levels, in the encoder's order. */
  readonly decoderChannels: readonly number[]
  readonly layers: number
  readonly groups: number
  readonly quantConv: boolean
  readonly postQuantConv: boolean
  readonly midAttention: boolean
  /** The edge of the images that the autoencoder was trained for, in pixels. */
  readonly sampleSize: number
}

/** The defaults of the two classes for missing keys. */
export interface KlDefaults {
  readonly levels: number
  readonly channels: readonly number[]
  readonly layers: number
  readonly latentChannels: number
  readonly sampleSize: number
}

const widths = { min: 1, max: 16384 }

/** Reads the shared keys. @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config` */
export function readKlSettings(reader: ConfigReader, defaults: KlDefaults): KlSettings {
  const repeated = (type: string) => Array.from({ length: defaults.levels }, () => type)
  const down = reader.strings('down_block_types', repeated('DownEncoderBlock2D'), 8)
  const up = reader.strings('up_block_types', repeated('UpDecoderBlock2D'), 8)
  if (down.some((type) => type !== 'DownEncoderBlock2D')) throw reader.unsupported('down_block_types', ['DownEncoderBlock2D'])
  if (up.some((type) => type !== 'UpDecoderBlock2D')) throw reader.unsupported('up_block_types', ['UpDecoderBlock2D'])
  if (up.length !== down.length) throw reader.invalid('up_block_types', `${down.length} types, as many as down_block_types`)
  const size = reader.raw('sample_size')
  const edge: unknown = Array.isArray(size) ? size[0] : size
  const channels = reader.integers('block_out_channels', defaults.channels, down.length, widths)
  const result: KlSettings = {
    sampleSize: typeof edge === 'number' && Number.isInteger(edge) && edge > 0 ? edge : defaults.sampleSize,
    inChannels: reader.integer('in_channels', 3, { min: 1, max: 1024 }),
    outChannels: reader.integer('out_channels', 3, { min: 1, max: 1024 }),
    latentChannels: reader.integer('latent_channels', defaults.latentChannels, { min: 1, max: 1024 }),
    channels,
    decoderChannels: channels,
    layers: reader.integer('layers_per_block', defaults.layers, { min: 1, max: 16 }),
    groups: reader.integer('norm_num_groups', 32, { min: 1, max: 1024 }),
    quantConv: reader.boolean('use_quant_conv', true),
    postQuantConv: reader.boolean('use_post_quant_conv', true),
    midAttention: reader.boolean('mid_block_add_attention', true),
  }
  checkGroups(reader, 'block_out_channels', channels, result.groups)
  reader.requireActivation('act_fn', 'silu', 'swish')
  return result
}

/**
 * Reads the widths of the decoder's levels, in the encoder's order. If the key is missing, null or 0, the decoder has the encoder's widths.
 */
export function readDecoderChannels(reader: ConfigReader, settings: KlSettings): readonly number[] {
  const key = 'decoder_block_out_channels'
  if (!reader.boolean(key, false)) return settings.channels
  const channels = reader.integers(key, undefined, settings.channels.length, widths)
  checkGroups(reader, key, channels, settings.groups)
  return channels
}

function checkGroups(reader: ConfigReader, key: string, channels: readonly number[], groups: number): void {
  if (channels.some((width) => width % groups !== 0))
    throw reader.invalid('norm_num_groups', `a divisor of each of ${key} ${channels.join(', ')}`)
}
