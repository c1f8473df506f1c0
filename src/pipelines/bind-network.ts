/**
 * The network classes that pipelines run: which library writes them, how their graph is written for the shapes of a run, and the
 * runtime component made of it all. Joins models/ and runtime/, which do not know each other.
 */

import type { WeightLibrary } from '../checkpoint/weight-files.js'
import type { Config, SafetensorsDType, WeightTable } from '../checkpoint/types.js'
import { DeviceError } from '../errors.js'
import { autoencoderKLDecoder, autoencoderKLEncoder, autoencoderKLScale } from '../models/autoencoders/autoencoder-kl.js'
import { clipTextModel, type ClipTextOptions } from '../models/text-encoders/clip-text-model.js'
import { matchWeights, quantizedWeights, type NetworkClass } from '../models/match-weights.js'
import { sd3PositionRows, sd3Transformer2DModel, type Sd3Options } from '../models/transformers/transformer-sd3.js'
import { t5EncoderModel } from '../models/text-encoders/t5-encoder-model.js'
import { unet2DConditionModel, usesAddEmbeds, unetTimestepProjection } from '../models/unets/unet-2d-condition.js'
import type { ComponentGraph, WriteOptions, Shapes } from '../onnx/types.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import type { DTypeName, QuantizationName } from './types.js'
import type { WeightPlan } from '../memory/plan.js'
import type { Device } from '../runtime/device.js'

export type { NetworkClass } from '../models/match-weights.js'

/** A network of a checkpoint, read and not yet on a device. */
export interface Network {
  /** The component's name in the pipeline, such as `unet`. */
  readonly name: string
  readonly className: NetworkClass
  readonly config: Config
  readonly table: WeightTable
  /** Where it came from, for people. */
  readonly repo: string
  /** The type it computes in, where it has one of its own. */
  readonly dtype?: DTypeName | undefined
  /** How its Linear weights are quantised. */
  readonly quantization?: QuantizationName | undefined
}

/** How a graph is varied beyond its shapes: which hidden state a text encoder gives, which blocks of SD3's denoiser are left out. */
export type GraphVariant = Pick<ClipTextOptions, 'hiddenState'> &
  Pick<Sd3Options, 'skipLayers'> & {
    /** The autoencoder's other half. */
    readonly part?: 'encoder' | undefined
  }

/** The library whose file names a class's weights have. */
export function libraryOf(className: NetworkClass): WeightLibrary {
  return className === 'CLIPTextModel' || className === 'CLIPTextModelWithProjection' || className === 'T5EncoderModel'
    ? 'transformers'
    : 'diffusers'
}

/** Writes the graph of a class for the shapes of its inputs. */
export function writeGraph(
  className: NetworkClass,
  config: Config,
  shapes: Shapes,
  options: WriteOptions,
  variant: GraphVariant = {},
): ComponentGraph {
  const dim = (input: string, axis: number): number => shapes[input]?.[axis] ?? 0
  switch (className) {
    case 'CLIPTextModel':
    case 'CLIPTextModelWithProjection':
      return clipTextModel(
        className,
        config,
        { batch: dim('inputs_embeds', 0), sequenceLength: dim('inputs_embeds', 1) },
        { ...options, ...variant },
      )
    case 'T5EncoderModel':
      return t5EncoderModel(config, { batch: dim('inputs_embeds', 0), sequenceLength: dim('inputs_embeds', 1) }, options)
    case 'UNet2DConditionModel':
      return unet2DConditionModel(
        config,
        {
          batch: dim('sample', 0),
          height: dim('sample', 2),
          width: dim('sample', 3),
          sequenceLength: dim('encoder_hidden_states', 1),
        },
        options,
      )
    case 'SD3Transformer2DModel':
      return sd3Transformer2DModel(
        config,
        {
          batch: dim('hidden_states', 0),
          height: dim('hidden_states', 2),
          width: dim('hidden_states', 3),
          sequenceLength: dim('encoder_hidden_states', 1),
        },
        { ...options, ...variant },
      )
    case 'AutoencoderKL':
      if (variant.part === 'encoder')
        return autoencoderKLEncoder(
          config,
          { batch: dim('sample', 0), height: dim('sample', 2), width: dim('sample', 3) },
          options,
        )
      return autoencoderKLDecoder(
        config,
        { batch: dim('latents', 0), height: dim('latents', 2), width: dim('latents', 3) },
        options,
      )
  }
}

/** Tokens that T5 is given where a call does not say how many: diffusers' `max_sequence_length` of Stable Diffusion 3. */
export const usualT5Tokens = 256

/** Small shapes that a class's graph can be written for, to see its config refused and its weights matched before anything runs. */
export function probeShapes(className: NetworkClass, config: Config, t5Tokens = usualT5Tokens): Shapes {
  const value = (key: string, fallback: number): number => (typeof config[key] === 'number' ? config[key] : fallback)
  switch (className) {
    case 'CLIPTextModel':
    case 'CLIPTextModelWithProjection':
      return { inputs_embeds: [1, value('max_position_embeddings', 77), value('hidden_size', 512)] }
    case 'T5EncoderModel':
      return { inputs_embeds: [1, t5Tokens, value('d_model', 512)] }
    case 'UNet2DConditionModel': {
      const blocks = Array.isArray(config['block_out_channels']) ? config['block_out_channels'].length : 4
      const edge = 2 ** blocks
      return {
        sample: [2, value('in_channels', 4), edge, edge],
        encoder_hidden_states: [2, 77, value('cross_attention_dim', 1280)],
      }
    }
    case 'SD3Transformer2DModel': {
      const edge = 2 * value('patch_size', 2)
      return {
        hidden_states: [2, value('in_channels', 16), edge, edge],
        encoder_hidden_states: [2, 77 + t5Tokens, value('joint_attention_dim', 4096)],
      }
    }
    case 'AutoencoderKL':
      return { latents: [1, value('latent_channels', 4), 8, 8] }
  }
}

/**
 * Refuses a config that cannot be run before any weights are fetched.
 * @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config`
 */
export function checkNetworkConfig(className: NetworkClass, config: Config): void {
  writeGraph(className, config, probeShapes(className, config), { dtype: 'float32', weights: 'input', granularity: 'block' })
  if (className === 'UNet2DConditionModel') {
    unetTimestepProjection(config, [0])
    usesAddEmbeds(config)
  } else if (className === 'AutoencoderKL') autoencoderKLScale(config)
  else if (className === 'SD3Transformer2DModel') sd3PositionRows(config, { height: 4, width: 4 })
}

/** The type most of a table's bytes have, as a type to compute in. */
export function storedType(table: WeightTable): DTypeName {
  const bytes = new Map<SafetensorsDType, number>()
  for (const { dtype, begin, end } of table.values()) bytes.set(dtype, (bytes.get(dtype) ?? 0) + end - begin)
  const [most] = [...bytes].toSorted((a, b) => b[1] - a[1])
  return most === undefined || most[0] === 'F32' || most[0] === 'F64' ? 'float32' : 'float16'
}

export interface BindOptions {
  readonly device: Device
  readonly dtype: DTypeName
  readonly granularity: WriteOptions['granularity']
  /** How its weights are loaded; all of them stay unless set. */
  readonly plan?: WeightPlan | undefined
  /** The variant that a run names; the empty name is the plain one. */
  readonly variantOf: (name: string) => GraphVariant
}

/** Makes a network's runtime component. Its weights are held against the graph before each use of new shapes. */
export function bindNetwork(network: Network, options: BindOptions): BoundNetwork {
  const { name, className, config, table } = network
  const writeOptions = graphOptions(network, options)
  const graph = (shapes: Shapes, _device: Device, variant = ''): ComponentGraph => {
    const [bound] = matchWeights(
      className,
      [writeGraph(className, config, shapes, writeOptions, options.variantOf(variant))],
      table,
    ).graphs
    if (bound === undefined) throw new DeviceError('no-graph', `No graph was written for ${name}.`, { component: name })
    return bound
  }
  return new BoundNetwork({
    name,
    device: options.device,
    table,
    graph,
    shapes: probeShapes(className, config),
    plan: options.plan,
  })
}

/** How a network's graphs are written for a device. An autoencoder that overflows in float16 computes in float32. */
export function graphOptions(
  network: Network,
  { device, dtype, granularity }: Pick<BindOptions, 'dtype' | 'granularity'> & { readonly device: Pick<Device, 'writeOptions'> },
): WriteOptions {
  const upcast = network.className === 'AutoencoderKL' && network.config['force_upcast'] !== false
  const options = device.writeOptions({ dtype: upcast ? 'float32' : (network.dtype ?? dtype), granularity })
  return { ...options, quantized: quantizedWeights(network.className, network.table) }
}

/** Holds all tensors of a network against its graph. Returns the names of those that belong to no parameter. */
export function unexpectedTensors(network: Network): readonly string[] {
  const { className, config, table } = network
  const graph = writeGraph(className, config, probeShapes(className, config), {
    dtype: 'float32',
    weights: 'input',
    granularity: 'block',
    quantized: quantizedWeights(className, table),
  })
  return matchWeights(className, [graph], table).unexpected
}
