/**
 * FluxTransformer2DModel of diffusers: FLUX.1 schnell and dev. Stages are the embeddings, each block and the output. The graph packs the latents
 * itself: diffusers' pipeline makes each square of 2 × 2 latent pixels a token before the network, and unpacks its output.
 */

import type { Config } from '../../checkpoint/types.js'
import { InputError } from '../../errors.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import { concat, dimension, reshape, slice, transpose } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { fluxSingleTransformerBlock, fluxTransformerBlock, type FluxBlockSettings } from '../layers/flux-blocks.js'
import { timestepMlp, toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { modulate, modulations, plainNorm } from '../layers/modulation.js'
import { imagePositions, rotaryTables } from '../layers/rotary-tables.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { timestepEmbedding } from '../layers/timestep-embedding.js'
import { currentNames, type DenoiserDefinition, type HostInput, type PositionSize } from '../types.js'
import { isTruthy } from '../../util/truthy.js'

/** Sizes in latent pixels; the batch counts both halves of guidance, `sequenceLength` the tokens of the prompt. */
interface FluxShape {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
}

interface FluxConfig extends FluxBlockSettings {
  /** Keys that the class does not have. */
  readonly ignoredKeys: Config
  /** Of a token. */
  readonly inChannels: number
  /** Of a token. */
  readonly outChannels: number
  readonly layers: number
  readonly singleLayers: number
  readonly contextWidth: number
  readonly pooledWidth: number
  /** Whether the guidance scale is an input. */
  readonly guidance: boolean
  /** For each axis of the positions, how many of a head's values it turns. */
  readonly axes: readonly number[]
}

/** Fixed in diffusers: FluxPosEmbed's `theta`. */
const theta = 10000

/** Fixed in diffusers' CombinedTimestepGuidanceTextProjEmbeddings. */
const timeSettings = { width: 256, flipSinToCos: true, freqShift: 0 }

/** Latent pixels along the edges of a token, and the size that diffusers' FluxPipeline generates by default, in latent pixels. */
const patch = 2
const usualEdge = 128

/** Whether a value can be how many of a head's values an axis turns. */
function isAxis(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value % 2 === 0
}

function readConfig(config: Config): FluxConfig {
  const reader = new ConfigReader('FluxTransformer2DModel', config)
  const heads = reader.integer('num_attention_heads', 24, { min: 1, max: 256 })
  const headSize = reader.integer('attention_head_dim', 128, { min: 2, max: 1024 })
  const inChannels = reader.integer('in_channels', 64, { min: 4, max: 4096 })
  const axes = reader.raw('axes_dims_rope') ?? [16, 56, 56]
  if (!Array.isArray(axes) || axes.length !== 3 || !axes.every(isAxis) || axes.reduce((sum, axis) => sum + axis, 0) !== headSize)
    throw reader.invalid('axes_dims_rope', `three even numbers that add up to attention_head_dim, ${headSize}`)
  const result: Omit<FluxConfig, 'ignoredKeys'> = {
    inChannels,
    // As diffusers' `out_channels or in_channels`.
    outChannels: isTruthy(reader.raw('out_channels'), false)
      ? reader.integer('out_channels', inChannels, { min: 4, max: 4096 })
      : inChannels,
    layers: reader.integer('num_layers', 19, { min: 0, max: 128 }),
    singleLayers: reader.integer('num_single_layers', 38, { min: 0, max: 256 }),
    heads,
    headSize,
    contextWidth: reader.integer('joint_attention_dim', 4096, { min: 1, max: 65536 }),
    pooledWidth: reader.integer('pooled_projection_dim', 768, { min: 1, max: 65536 }),
    guidance: reader.boolean('guidance_embeds', false),
    axes,
  }
  if (inChannels % patch ** 2 !== 0) throw reader.invalid('in_channels', 'a multiple of 4: each token is 2 × 2 latent pixels')
  if (result.outChannels % patch ** 2 !== 0) throw reader.invalid('out_channels', 'a multiple of 4')
  // diffusers takes the square of it, and its pipelines pack the latents before.
  if (Math.abs(reader.integer('patch_size', 1, { min: -1024, max: 1024 })) !== 1) throw reader.unsupported('patch_size', [1])
  return { ...result, ignoredKeys: reader.finish() }
}

/** [batch, channels, height, width] → [batch, tokens, 4 · channels]: diffusers' `_pack_latents`. */
function packed(graph: GraphBuilder, latents: ValueInfo): ValueInfo {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.dims
  const [rows, columns] = [height / patch, width / patch]
  const grid = transpose(graph, reshape(graph, latents, [batch, channels, rows, patch, columns, patch]), [0, 2, 4, 1, 3, 5])
  return reshape(graph, grid, [batch, rows * columns, channels * patch ** 2])
}

/** The inverse of {@link packed}: diffusers' `_unpack_latents`. */
function unpacked(graph: GraphBuilder, tokens: ValueInfo, { height, width }: FluxShape): ValueInfo {
  const [rows, columns] = [height / patch, width / patch]
  const [batch, channels] = [dimension(tokens, 0), dimension(tokens, 2) / patch ** 2]
  const grid = transpose(graph, reshape(graph, tokens, [batch, rows, columns, channels, patch, patch]), [0, 3, 1, 4, 2, 5])
  return reshape(graph, grid, [batch, channels, height, width])
}

/** SiLU of CombinedTimestepTextProjEmbeddings, or with `guidance` of CombinedTimestepGuidanceTextProjEmbeddings: each use of it is SiLU first. */
function timeEmbedding(
  graph: GraphBuilder,
  inputs: { readonly timestep: ValueInfo; readonly pooled: ValueInfo; readonly guidance?: ValueInfo },
  channels: number,
): ValueInfo {
  const embed = (value: ValueInfo, name: string) => timestepMlp(graph, toCompute(graph, value), name, channels)
  const time = embed(inputs.timestep, 'timestep_embedder')
  const guided = inputs.guidance === undefined ? time : add(graph, time, embed(inputs.guidance, 'guidance_embedder'))
  return silu(graph, add(graph, guided, embed(inputs.pooled, 'text_embedder')))
}

/** @throws InputError */
function checkFluxShape({ batch, height, width, sequenceLength }: FluxShape): void {
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

/** @throws InputError */
function writeGraph(flux: FluxConfig, shape: FluxShape, options: WriteOptions): ComponentGraph {
  checkFluxShape(shape)
  const { batch, height, width, sequenceLength } = shape
  const tokens = (height / patch) * (width / patch)
  const channels = flux.heads * flux.headSize
  const component = new ComponentBuilder('FluxTransformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, flux.inChannels / patch ** 2, height, width])
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, flux.contextWidth])
  const pooled = component.input('pooled_projections', 'float32', [batch, flux.pooledWidth])
  const timestep = component.input('timestep_proj', 'float32', [batch, timeSettings.width])
  const guidance = flux.guidance ? component.input('guidance_proj', 'float32', [batch, timeSettings.width]) : undefined
  const cos = component.input('rotary_cos', 'float32', [sequenceLength + tokens, flux.headSize / 2])
  const sin = component.input('rotary_sin', 'float32', [sequenceLength + tokens, flux.headSize / 2])

  let { hidden } = component.stage(
    'x_embedder',
    { latents },
    (graph, inputs) => ({
      hidden: toFloat32(graph, tokenLinear(graph, packed(graph, toCompute(graph, inputs.latents)), 'x_embedder', channels)),
    }),
    '',
  )
  const { temb } =
    guidance === undefined
      ? component.stage('time_text_embed', { timestep, pooled }, (graph, inputs) => ({
          temb: timeEmbedding(graph, inputs, channels),
        }))
      : component.stage('time_text_embed', { timestep, pooled, guidance }, (graph, inputs) => ({
          temb: timeEmbedding(graph, inputs, channels),
        }))
  let { context } = component.stage(
    'context_embedder',
    { prompt },
    (graph, inputs) => ({
      context: toFloat32(graph, tokenLinear(graph, toCompute(graph, inputs.prompt), 'context_embedder', channels)),
    }),
    '',
  )
  for (let index = 0; index < flux.layers; index++) {
    const values = { hidden, context, temb, cos, sin }
    const stage = component.stage(`transformer_blocks.${index}`, values, (graph, inputs) =>
      fluxTransformerBlock(graph, { hidden: inputs.hidden, context: inputs.context }, inputs, flux),
    )
    hidden = stage.hidden
    context = stage.context
  }
  let { joined } = component.stage('joined', { hidden, context }, (graph, inputs) => ({
    joined: concat(graph, [inputs.context, inputs.hidden], 1),
  }))
  for (let index = 0; index < flux.singleLayers; index++) {
    const stage = component.stage(`single_transformer_blocks.${index}`, { joined, temb, cos, sin }, (graph, inputs) => ({
      joined: fluxSingleTransformerBlock(graph, inputs.joined, inputs, flux),
    }))
    joined = stage.joined
  }
  const { noise } = component.stage(
    'proj_out',
    { joined, temb },
    (graph, inputs) => {
      const image = slice(graph, inputs.joined, 1, sequenceLength, sequenceLength + tokens)
      // AdaLayerNormContinuous: the order is scale, then shift.
      const [scaling, shift] = modulations(graph, inputs.temb, 'norm_out.linear', channels, 2)
      if (scaling === undefined || shift === undefined) throw new Error('Split returned too few parts')
      const normed = modulate(graph, plainNorm(graph, image), toFloat32(graph, shift), toFloat32(graph, scaling))
      const rows = tokenLinear(graph, toCompute(graph, normed), 'proj_out', flux.outChannels)
      return { noise: toFloat32(graph, unpacked(graph, rows, shape)) }
    },
    '',
  )
  component.output('out_sample', noise)
  return component.finish()
}

/** Positions [tokens, 3] of the prompt, all 0, and of the tokens of the image: 0, row, column. */
function positions({ height, width, sequenceLength }: PositionSize): Float32Array {
  const image = imagePositions({ rows: height / patch, columns: width / patch })
  const all = new Float32Array(3 * sequenceLength + image.length)
  all.set(image, 3 * sequenceLength)
  return all
}

const { fround } = Math

/** The sines and cosines of numbers that diffusers multiplies by 1000 in the network. */
function embedding(values: readonly number[]): HostInput {
  const thousands = values.map((value) => fround(fround(value) * 1000))
  return { dims: [values.length, timeSettings.width], data: timestepEmbedding(thousands, timeSettings) }
}

const facts = {
  className: 'FluxTransformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: { ...currentNames, unused: [] },
  quantizable: true,
  residual: 'float32',
} as const

/** diffusers' default of `max_sequence_length` in FluxPipeline. */
export const fluxSequenceLength = 512

/** The denoiser of FLUX.1. */
export const FluxTransformer2DModel: DenoiserDefinition<FluxConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels, outChannels, contextWidth, pooledWidth } = config
    const channels = inChannels / patch ** 2
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      smallest: { height: patch, width: patch },
      shapes: ({ height, width, images = 1, maxSequenceLength = fluxSequenceLength }) => ({
        hidden_states: [images, channels, height, width],
        encoder_hidden_states: [images, maxSequenceLength, contextWidth],
      }),
      write: (shapes, options) => {
        const { hidden_states: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } =
          shapes
        return writeGraph(config, { batch, height, width, sequenceLength }, options)
      },
      upcast: false,
      latents: {
        input: 'hidden_states',
        channels,
        outChannels: outChannels / patch ** 2,
        patch,
        sampleSize: { height: usualEdge, width: usualEdge },
      },
      promptInputs: ['encoder_hidden_states', 'pooled_projections'],
      contextWidth,
      promptMisfit: ({ hidden, pooled }) => {
        if (contextWidth !== hidden) return { key: 'joint_attention_dim', value: contextWidth, allowed: hidden }
        if (pooledWidth !== pooled) return { key: 'pooled_projection_dim', value: pooledWidth, allowed: pooled }
        return undefined
      },
      // diffusers' pipeline divides the timestep by 1000.
      stepInputs: (timesteps) => ({ timestep_proj: embedding(timesteps.map((timestep) => timestep / 1000)) }),
      guidanceInputs: config.guidance
        ? (scale, batch) => ({ guidance_proj: embedding(Array<number>(batch).fill(scale)) })
        : undefined,
      tableInputs: () => ({}),
      positionInputs: (size) => {
        const { cos, sin } = rotaryTables(positions(size), { axes: config.axes, theta })
        return { rotary_cos: cos, rotary_sin: sin }
      },
      skippableLayers: 0,
    }
  },
}
