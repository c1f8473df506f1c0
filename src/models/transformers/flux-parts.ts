/**
 * The parts that the transformers of FLUX.1, FLUX.2 and Chroma share: tokens are embedded, and pass through double blocks in two streams and through
 * single blocks in one; the image's tokens become the prediction. FLUX.1 and Chroma share their packing and positions too: diffusers'
 * pipelines make each square of 2 × 2 latent pixels a token before the network, and unpack its output. Here the graph does both.
 */

import { InputError } from '../../errors.js'
import type { ComponentBuilder, Values } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { concat, dimension, reshape, slice, transpose } from '../../onnx/ops-shape.js'
import type { Shapes, ValueInfo } from '../../onnx/types.js'
import type { ConfigReader } from '../config-reader.js'
import type { FluxTokens } from '../layers/flux-attention.js'
import type { FluxBlockSettings } from '../layers/flux-blocks.js'
import { toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { modulate, plainNorm } from '../layers/modulation.js'
import { imagePositions, rotaryTables } from '../layers/rotary-tables.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import type { DenoiserModel, HostInput, PositionSize } from '../types.js'
import { isTruthy } from '../../util/truthy.js'

/** diffusers' default of `max_sequence_length` in all pipelines of FLUX.1, FLUX.2 and Chroma. */
export const fluxSequenceLength = 512

/** Latent pixels along the edges of a token, and the size that the pipelines of FLUX.1 and Chroma generate by default, in latent pixels. */
const patch = 2
const usualEdge = 128

/** Fixed in diffusers: FluxPosEmbed's `theta`. */
const theta = 10000

/** The values that the configs of FLUX.1 and Chroma share. */
export interface FluxCommonConfig extends FluxBlockSettings {
  /** Channels of a token of latents: 4 times those of the latents. */
  readonly inChannels: number
  /** Channels of a token of the prediction. */
  readonly outChannels: number
  readonly layers: number
  readonly singleLayers: number
  readonly contextWidth: number
  /** For each axis of the positions: the number of a head's values that it rotates. */
  readonly axes: readonly number[]
}

/** Sizes in latent pixels; the batch counts both halves of guidance, `sequenceLength` the tokens of the prompt. */
export interface FluxShape {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
}

/** Whether a value is valid in `axes_dims_rope`: a positive even number. */
function isAxis(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value % 2 === 0
}

/** Reads `axes_dims_rope`: even numbers that add up to the size of a head. @throws CheckpointError `invalid-config` */
export function readAxes(reader: ConfigReader, usual: readonly number[], headSize: number): readonly number[] {
  const axes = reader.raw('axes_dims_rope') ?? usual
  const isValid = Array.isArray(axes) && axes.length === usual.length && axes.every(isAxis)
  if (!isValid || axes.reduce((sum, axis) => sum + axis, 0) !== headSize)
    throw reader.invalid('axes_dims_rope', `${usual.length} even numbers that add up to attention_head_dim, ${headSize}`)
  return axes
}

/** Checks that the square of `patch_size` is 1, because the pipelines have packed the latents already. diffusers' network uses only the square. @throws UnsupportedError `unsupported-config` */
export function readPatchSize(reader: ConfigReader): void {
  if (Math.abs(reader.integer('patch_size', 1, { min: -1024, max: 1024 })) !== 1) throw reader.unsupported('patch_size', [1])
}

/** diffusers' `out_channels or in_channels`. */
export function readOutChannels(reader: ConfigReader, inChannels: number, min: number): number {
  return isTruthy(reader.raw('out_channels'), false) ? reader.integer('out_channels', inChannels, { min, max: 4096 }) : inChannels
}

/** The keys of FLUX.1 that Chroma has too. @throws CheckpointError `invalid-config`; UnsupportedError `unsupported-config` */
export function readFluxConfig(reader: ConfigReader): FluxCommonConfig {
  const heads = reader.integer('num_attention_heads', 24, { min: 1, max: 256 })
  const headSize = reader.integer('attention_head_dim', 128, { min: 2, max: 1024 })
  const inChannels = reader.integer('in_channels', 64, { min: 4, max: 4096 })
  const axes = readAxes(reader, [16, 56, 56], headSize)
  const config = {
    heads,
    headSize,
    inChannels,
    outChannels: readOutChannels(reader, inChannels, patch ** 2),
    layers: reader.integer('num_layers', 19, { min: 0, max: 128 }),
    singleLayers: reader.integer('num_single_layers', 38, { min: 0, max: 256 }),
    contextWidth: reader.integer('joint_attention_dim', 4096, { min: 1, max: 65536 }),
    axes,
  }
  if (inChannels % patch ** 2 !== 0) throw reader.invalid('in_channels', 'a multiple of 4: each token is 2 × 2 latent pixels')
  if (config.outChannels % patch ** 2 !== 0) throw reader.invalid('out_channels', 'a multiple of 4')
  readPatchSize(reader)
  return config
}

/** @throws InputError `invalid-shape` */
export function checkFluxShape({ batch, height, width, sequenceLength }: FluxShape): void {
  const { batch: most, sequenceLength: tokens, latentEdge } = shapeLimits
  checkShape(
    { batch, sequenceLength, height, width },
    { batch: most, sequenceLength: tokens, height: latentEdge, width: latentEdge },
  )
  for (const [key, value] of Object.entries({ height, width })) {
    if (value % patch !== 0)
      throw new InputError('invalid-shape', `${key} is ${value}; allowed: even numbers of latent pixels`, {
        key,
        value,
        multipleOf: patch,
      })
  }
}

/** How many tokens an image has, from its size in latent pixels. */
export function fluxImageTokens({ height, width }: Pick<FluxShape, 'height' | 'width'>): number {
  return (height / patch) * (width / patch)
}

/** [batch, channels, height, width] → [batch, tokens, 4 · channels]: diffusers' `_pack_latents`. */
export function packed(graph: GraphBuilder, latents: ValueInfo): ValueInfo {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.dims
  const [rows, columns] = [height / patch, width / patch]
  const grid = transpose(graph, reshape(graph, latents, [batch, channels, rows, patch, columns, patch]), [0, 2, 4, 1, 3, 5])
  return reshape(graph, grid, [batch, rows * columns, channels * patch ** 2])
}

/** The inverse of {@link packed}: diffusers' `_unpack_latents`. */
export function unpacked(graph: GraphBuilder, tokens: ValueInfo, { height, width }: FluxShape): ValueInfo {
  const [rows, columns] = [height / patch, width / patch]
  const [batch, channels] = [dimension(tokens, 0), dimension(tokens, 2) / patch ** 2]
  const grid = transpose(graph, reshape(graph, tokens, [batch, rows, columns, channels, patch, patch]), [0, 3, 1, 4, 2, 5])
  return reshape(graph, grid, [batch, channels, height, width])
}

/** The inputs with the cosines and sines of all tokens, the prompt's first. */
export function rotaryInputs(component: ComponentBuilder, tokens: number, headSize: number): Values<'cos' | 'sin'> {
  return {
    cos: component.input('rotary_cos', 'float32', [tokens, headSize / 2]),
    sin: component.input('rotary_sin', 'float32', [tokens, headSize / 2]),
  }
}

/**
 * Adds a stage with the Linear `name`, which embeds tokens. `rows` computes [batch, tokens, in] from the stage's inputs. The result is
 * float32.
 */
export function embedderStage<Name extends string>(
  component: ComponentBuilder,
  name: string,
  values: Values<Name>,
  rows: (graph: GraphBuilder, inputs: Values<Name>) => ValueInfo,
  { channels, bias = true }: { readonly channels: number; readonly bias?: boolean },
): ValueInfo {
  return component.stage(
    name,
    values,
    (graph, inputs) => ({ tokens: toFloat32(graph, tokenLinear(graph, rows(graph, inputs), name, channels, { bias })) }),
    '',
  ).tokens
}

/** How one network adds a block: as a stage with the given name. */
export interface FluxStages {
  readonly double: (name: string, tokens: FluxTokens, index: number) => FluxTokens
  readonly single: (name: string, joined: ValueInfo, index: number) => ValueInfo
}

/** Adds all blocks. Returns the tokens of prompt and image, in this order. */
export function fluxBlocks(
  component: ComponentBuilder,
  tokens: FluxTokens,
  { layers, singleLayers }: { readonly layers: number; readonly singleLayers: number },
  stages: FluxStages,
): ValueInfo {
  let streams = tokens
  for (let index = 0; index < layers; index++) streams = stages.double(`transformer_blocks.${index}`, streams, index)
  const { hidden, context } = streams
  let { joined } = component.stage('joined', { hidden, context }, (graph, inputs) => ({
    joined: concat(graph, [inputs.context, inputs.hidden], 1),
  }))
  for (let index = 0; index < singleLayers; index++) joined = stages.single(`single_transformer_blocks.${index}`, joined, index)
  return joined
}

/** The prediction for the tokens from `begin` up to `end`, those of the image: AdaLayerNormContinuous, then the Linear `proj_out`. */
export function fluxOutput(
  graph: GraphBuilder,
  joined: ValueInfo,
  { begin, end }: { readonly begin: number; readonly end: number },
  { shift, factor }: { readonly shift: ValueInfo; readonly factor: ValueInfo },
  { out, bias = true, epsilon }: { readonly out: number; readonly bias?: boolean; readonly epsilon?: number },
): ValueInfo {
  const image = slice(graph, joined, 1, begin, end)
  const normed = modulate(graph, plainNorm(graph, image, epsilon), shift, factor)
  return tokenLinear(graph, toCompute(graph, normed), 'proj_out', out, { bias })
}

/** Positions [tokens, 3] of the prompt, all 0, and of the tokens of the image: 0, row, column. */
function positions({ height, width, sequenceLength }: PositionSize): Float32Array {
  const image = imagePositions({ rows: height / patch, columns: width / patch })
  const all = new Float32Array(3 * sequenceLength + image.length)
  all.set(image, 3 * sequenceLength)
  return all
}

/** The members of a model that FLUX.1 and Chroma have in common. `isGuided`: whether runs usually have classifier-free guidance, which doubles the batch. */
export function fluxModel({ inChannels, outChannels, contextWidth, axes }: FluxCommonConfig, isGuided: boolean) {
  const channels = inChannels / patch ** 2
  return {
    smallest: { height: patch, width: patch },
    shapes: ({ height, width, images = 1, guided = isGuided, maxSequenceLength = fluxSequenceLength }) => {
      const batch = images * (guided ? 2 : 1)
      return {
        hidden_states: [batch, channels, height, width],
        encoder_hidden_states: [batch, maxSequenceLength, contextWidth],
      }
    },
    upcast: false,
    latents: {
      input: 'hidden_states',
      channels,
      outChannels: outChannels / patch ** 2,
      patch,
      sampleSize: { height: usualEdge, width: usualEdge },
    },
    contextWidth,
    tableInputs: () => ({}),
    positionInputs: (size) => {
      const { cos, sin } = rotaryTables(positions(size), { axes, theta })
      return { rotary_cos: cos, rotary_sin: sin } satisfies Record<string, HostInput>
    },
    skippableLayers: 0,
  } satisfies Partial<DenoiserModel>
}

/** The shape of a run of FLUX.1 or Chroma, from the shapes of its inputs. */
export function fluxShape(shapes: Shapes): FluxShape {
  const { hidden_states: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } = shapes
  return { batch, height, width, sequenceLength }
}
