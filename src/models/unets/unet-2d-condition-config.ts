/**
 * Reads and checks the config of UNet2DConditionModel: Stable Diffusion 1.x and 2.x, SDXL, its refiner, SSD-1B and models derived from them.
 * The result has one record per block, with everything that the graph needs to know about it.
 */

import type { Config } from '../../checkpoint/types.js'
import { isTruthy } from '../../util/truthy.js'
import { asNumber, ConfigReader } from '../config-reader.js'
import { readExtent } from '../read-extent.js'
import type { TimestepSettings } from '../layers/timestep-embedding.js'
import type { Extent } from '../types.js'

/** The attention of one block; `depths` has the number of transformer blocks after each resnet. */
export interface UnetAttention {
  readonly heads: number
  readonly depths: readonly number[]
  readonly contextWidth: number
  readonly onlyCrossAttention: boolean
}

/** A down or up block. */
interface UnetBlock {
  readonly channels: number
  readonly resnets: number
  readonly attention: UnetAttention | undefined
}

/** The values of a UNet2DConditionModel config, checked. */
export interface UnetConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Values of the class's keys that have no effect here. */
  readonly unusedValues: Config
  /** The size that the UNet was trained for, in latent pixels. */
  readonly sampleSize: Extent
  readonly inChannels: number
  readonly outChannels: number
  readonly centerInputSample: boolean
  readonly convInKernel: number
  readonly convOutKernel: number
  readonly time: TimestepSettings
  readonly timeEmbedWidth: number
  /** Latent consistency models: the width of the guidance scale's embedding. Null for UNets that take no guidance scale. */
  readonly guidanceWidth: number | null
  /** SDXL's added condition: how each time id is embedded, and the width of the whole condition. */
  readonly added: { readonly time: TimestepSettings; readonly width: number } | undefined
  readonly contextWidth: number
  readonly groups: number
  readonly epsilon: number
  readonly upcastAttention: boolean
  readonly downsamplePadding: number
  readonly down: readonly UnetBlock[]
  readonly mid: { readonly scaleFactor: number; readonly attention: UnetAttention | undefined } | undefined
  readonly up: readonly UnetBlock[]
}

const channelBounds = { min: 1, max: 16384 }
// A depth may be 0: diffusers ignores the depth of a block without attention, and attention of depth 0 has only its projections.
const depthBounds = { min: 0, max: 64 }
const mostBlocks = 8

/** @throws UnsupportedError `unsupported-config`, CheckpointError `invalid-config`, naming the key. */
export function readUnetConfig(config: Config): UnetConfig {
  const reader = new ConfigReader('UNet2DConditionModel', config)
  refuseOthers(reader)
  const { downTypes, upTypes } = readBlockTypes(reader)
  const count = downTypes.length
  const channels = reader.integers('block_out_channels', [320, 640, 1280, 1280], count, channelBounds)
  const groups = reader.integer('norm_num_groups', 32, { min: 1, max: 1024 })
  if (channels.some((width) => width % groups !== 0))
    throw reader.invalid('norm_num_groups', `a divisor of each of block_out_channels ${channels.join(', ')}`)
  const layers = reader.integers('layers_per_block', 2, count, { min: 1, max: 16 })
  // Despite its name attention_head_dim is the number of heads: diffusers issue 2011.
  const heads = reader.integers('attention_head_dim', 8, count, { min: 0, max: 1024 })
  const contexts = reader.integers('cross_attention_dim', 1280, count, channelBounds)
  const only = reader.each('only_cross_attention', false, count, (value) => isTruthy(value, false), 'true or false')
  const depths = readDepths(reader, layers)
  const [contextWidth] = contexts
  if (contextWidth === undefined || contexts.some((width) => width !== contextWidth)) {
    throw reader.unsupported('cross_attention_dim', ['one width for all blocks'])
  }

  const block = (index: number, resnets: number, crosses: boolean, depth: readonly number[]): UnetBlock => {
    const width = channels[index] ?? 0
    const blockHeads = heads[index] ?? 1
    if (crosses && (blockHeads === 0 || width % blockHeads !== 0))
      throw reader.invalid('attention_head_dim', `divisors of block_out_channels ${channels.join(', ')}`)
    const attention = { heads: blockHeads, depths: depth, contextWidth, onlyCrossAttention: only[index] ?? false }
    return { channels: width, resnets, attention: crosses ? attention : undefined }
  }
  const last = count - 1
  const midType = reader.oneOf('mid_block_type', 'UNetMidBlock2DCrossAttn', ['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D', null])
  // `attn1` of the middle block is always self-attention: diffusers does not pass only_cross_attention to this block.
  const midAttention = block(last, 2, midType === 'UNetMidBlock2DCrossAttn', depths.mid).attention
  const hasAttention = (index: number) =>
    downTypes[index] === 'CrossAttnDownBlock2D' ||
    upTypes[last - index] === 'CrossAttnUpBlock2D' ||
    (index === last && midAttention !== undefined)
  // diffusers ignores the number of heads and the depth of a block without attention.
  const without = [...downTypes.keys()].filter((index) => !hasAttention(index))
  if (without.some((index) => heads[index] === 0)) reader.unused('attention_head_dim', null)
  if (without.some((index) => depths.down[index]?.includes(0) === true)) reader.unused('transformer_layers_per_block', null)
  const scaleFactor = reader.number('mid_block_scale_factor', 1, { min: 1e-6, max: 1e6 })

  const first = channels[0] ?? 0
  const flipSinToCos = reader.boolean('flip_sin_to_cos', true)
  const freqShift = reader.number('freq_shift', 0, { min: 0, max: Math.max(Math.floor(first / 2) - 1, 0) })
  const added = readAdded(reader, flipSinToCos, freqShift)
  const result: Omit<UnetConfig, 'ignoredKeys' | 'unusedValues'> = {
    sampleSize: readSampleSize(reader, added !== undefined),
    inChannels: reader.integer('in_channels', 4, { min: 1, max: 1024 }),
    outChannels: reader.integer('out_channels', 4, { min: 1, max: 1024 }),
    centerInputSample: reader.boolean('center_input_sample', false),
    convInKernel: reader.oneOf('conv_in_kernel', 3, [1, 3, 5, 7]),
    convOutKernel: reader.oneOf('conv_out_kernel', 3, [1, 3, 5, 7]),
    time: { width: first, flipSinToCos, freqShift },
    timeEmbedWidth: reader.boolean('time_embedding_dim', false)
      ? reader.integer('time_embedding_dim', 0, channelBounds)
      : 4 * first,
    guidanceWidth: reader.optionalInteger('time_cond_proj_dim', { min: 4, max: 16384 }),
    added,
    contextWidth,
    groups,
    epsilon: reader.number('norm_eps', 1e-5, { min: 0, max: 1 }),
    upcastAttention: reader.boolean('upcast_attention', false),
    downsamplePadding: reader.integer('downsample_padding', 1, { min: 0, max: 1 }),
    down: downTypes.map((type, index) =>
      block(index, layers[index] ?? 0, type === 'CrossAttnDownBlock2D', depths.down[index] ?? []),
    ),
    mid:
      midType === null
        ? undefined
        : { scaleFactor, attention: midAttention === undefined ? undefined : { ...midAttention, onlyCrossAttention: false } },
    up: upTypes.map((type, index) =>
      block(last - index, (layers[last - index] ?? 0) + 1, type === 'CrossAttnUpBlock2D', depths.up[index] ?? []),
    ),
  }
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** diffusers' `default_sample_size`: if the config has none, 128 for UNets with SDXL's time ids, 64 for the others. */
function readSampleSize(reader: ConfigReader, hasTimeIds: boolean): Extent {
  const size = readExtent(reader, 'sample_size', hasTimeIds ? 128 : 64)
  // Configs from before diffusers 0.9 say 32 and mean 64. As in diffusers, a smaller size than 64 becomes 64 in such a config. A config
  // with a height and a width is newer.
  const isEdge = !Array.isArray(reader.raw('sample_size'))
  if (hasTimeIds || !isEdge || !isBefore09(reader.raw('_diffusers_version'))) return size
  return { height: Math.max(size.height, 64), width: Math.max(size.width, 64) }
}

function isBefore09(written: unknown): boolean {
  const version = typeof written === 'string' ? /^(\d+)\.(\d+)/.exec(written) : null
  return version !== null && Number(version[1]) === 0 && Number(version[2]) < 9
}

/** The classes of the down blocks and of the up blocks, in lists of equal length. */
function readBlockTypes(reader: ConfigReader) {
  const read = (key: string, plain: string, crossing: string, usual: readonly string[]) => {
    const types = reader.strings(key, usual, mostBlocks)
    if (!types.every((type) => type === plain || type === crossing)) throw reader.unsupported(key, [plain, crossing])
    return types
  }
  const [down, crossDown, up, crossUp] = ['DownBlock2D', 'CrossAttnDownBlock2D', 'UpBlock2D', 'CrossAttnUpBlock2D'] as const
  const downTypes = read('down_block_types', down, crossDown, [crossDown, crossDown, crossDown, down])
  const upTypes = read('up_block_types', up, crossUp, [up, crossUp, crossUp, crossUp])
  if (upTypes.length !== downTypes.length)
    throw reader.invalid('up_block_types', `${downTypes.length} types, as many as down_block_types`)
  return { downTypes, upTypes }
}

/** Refuses the keys of parts that are not supported, and names the keys that change nothing. */
function refuseOthers(reader: ConfigReader): void {
  reader.require('num_attention_heads')
  reader.requireFalse('dual_cross_attention')
  reader.refuse('class_embed_type', null, 'timestep', 'identity', 'projection', 'simple_projection')
  reader.require('num_class_embeds')
  reader.requireFalse('class_embeddings_concat')
  reader.require('encoder_hid_dim')
  reader.require('encoder_hid_dim_type')
  reader.require('resnet_time_scale_shift', 'default')
  reader.require('time_embedding_type', 'positional')
  reader.require('time_embedding_act_fn')
  reader.require('timestep_post_act')
  reader.refuse('attention_type', 'default', 'gated', 'gated-text-image')
  reader.requireActivation('act_fn', 'silu', 'swish')
  // diffusers reads these keys only for block types and embeddings that are refused above; `dropout` acts only in training, and
  // `use_linear_projection` only changes the shape of a weight.
  reader.unused('resnet_skip_time_act', null)
  reader.unused('cross_attention_norm', null)
  reader.unused('resnet_out_scale_factor', 1)
  reader.unused('mid_block_only_cross_attention', null)
  reader.unused('addition_embed_type_num_heads', 64)
  reader.unused('dropout', 0)
  reader.neutral('use_linear_projection')
  // diffusers' EMAModel leaves these keys in configs.
  reader.neutral('decay', 'inv_gamma', 'min_decay', 'optimization_step', 'power', 'update_after_step', 'use_ema_warmup')
}

function readAdded(reader: ConfigReader, flipSinToCos: boolean, freqShift: number): UnetConfig['added'] {
  const kind = reader.oneOf('addition_embed_type', null, [null, 'text_time'])
  if (kind === null) {
    reader.unused('addition_time_embed_dim', null)
    reader.unused('projection_class_embeddings_input_dim', null)
    return undefined
  }
  const timeWidth = reader.integer('addition_time_embed_dim', undefined, { min: 2, max: 16384 })
  if (freqShift >= Math.floor(timeWidth / 2)) throw reader.invalid('freq_shift', 'less than half of addition_time_embed_dim')
  const width = reader.integer('projection_class_embeddings_input_dim', undefined, { min: timeWidth, max: 65536 })
  return { time: { width: timeWidth, flipSinToCos, freqShift }, width }
}

/** Transformer blocks after each resnet of each block; the config has a number, a list, or lists in a list. */
function readDepths(reader: ConfigReader, layers: readonly number[]) {
  const key = 'transformer_layers_per_block'
  const reverseKey = 'reverse_transformer_layers_per_block'
  const count = layers.length
  const read = (value: unknown) => {
    const list: readonly unknown[] = (Array.isArray(value) ? (value as unknown[]) : [value]).map((item) => asNumber(item))
    const numbers = list.filter(
      (item): item is number =>
        typeof item === 'number' && Number.isInteger(item) && item >= depthBounds.min && item <= depthBounds.max,
    )
    if (numbers.length !== list.length) return undefined
    return Array.isArray(value) ? numbers : numbers[0]
  }
  const allowed = `whole numbers from ${depthBounds.min} to ${depthBounds.max}, or lists of one for each layer`
  const given = reader.each<number | number[]>(key, 1, count, read, allowed)
  if (reader.raw(reverseKey) === false) throw reader.invalid(reverseKey, allowed)
  const asymmetric = (reader.raw(reverseKey) ?? null) !== null
  const reversed = asymmetric ? reader.each<number | number[]>(reverseKey, undefined, count, read, allowed) : given.toReversed()
  if (!asymmetric && given.some((depth) => Array.isArray(depth)))
    throw reader.invalid(reverseKey, `a list, because ${key} has lists in it`)
  const spread = (name: string, depth: number | number[] | undefined, resnets: number): number[] => {
    if (!Array.isArray(depth)) return Array.from({ length: resnets }, () => depth ?? 1)
    if (depth.length !== resnets) throw reader.invalid(name, `${resnets} numbers for a block of ${resnets} resnets`)
    return depth
  }
  const mid = given[count - 1] ?? 1
  return {
    down: given.map((depth, index) => spread(key, depth, layers[index] ?? 0)),
    mid: [Array.isArray(mid) ? (mid[0] ?? 1) : mid],
    up: reversed.map((depth, index) => spread(reverseKey, depth, (layers[count - 1 - index] ?? 0) + 1)),
  }
}
