/**
 * Flux2Transformer2DModel of diffusers: FLUX.2. The latents are packed, as AutoencoderKLFlux2 returns them: one token for each of their
 * pixels. Tokens of reference images follow those of the latents. Stages are the embeddings, each block and the output; the blocks share
 * three modulations, which are computed once.
 */

import type { Config } from '../../checkpoint/types.js'
import { ComponentBuilder, type Values } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import { concat, expand, reshape, transpose } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { flux2SingleTransformerBlock, flux2TransformerBlock, type Flux2BlockSettings } from '../layers/flux2-blocks.js'
import { linear, toCompute, toFloat32 } from '../layers/layers.js'
import { branchParts, modulationRows, modulations, twoBranchParts, type ModulationPart } from '../layers/modulation.js'
import { rotaryTables } from '../layers/rotary-tables.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { timestepEmbedding } from '../layers/timestep-embedding.js'
import { currentNames, type DenoiserDefinition, type HostInput, type PositionSize } from '../types.js'
import {
  embedderStage,
  fluxBlocks,
  fluxOutput,
  fluxSequenceLength,
  readAxes,
  readOutChannels,
  readPatchSize,
  rotaryInputs,
} from './flux-parts.js'

/** Sizes in pixels of the packed latents; the batch counts both halves of guidance, `references` the tokens of all reference images. */
interface Flux2Shape {
  readonly batch: number
  readonly height: number
  readonly width: number
  readonly sequenceLength: number
  readonly references: number
}

interface Flux2Config extends Flux2BlockSettings {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  readonly inChannels: number
  readonly outChannels: number
  readonly layers: number
  readonly singleLayers: number
  readonly contextWidth: number
  /** How many sines and cosines a timestep's embedding has. */
  readonly timeWidth: number
  /** For each axis of the positions (reference image, row, column, place in the prompt): the number of a head's values that it rotates. */
  readonly axes: readonly number[]
  readonly theta: number
  readonly guidance: boolean
}

/** The input with the tokens of all reference images, [1, tokens, channels]. */
const flux2References = 'reference_latents'

/** The edge of the packed latents of an image of 1024 × 1024 pixels, diffusers' default size. */
const usualEdge = 64

function readConfig(config: Config): Flux2Config {
  const reader = new ConfigReader('Flux2Transformer2DModel', config)
  const heads = reader.integer('num_attention_heads', 48, { min: 1, max: 256 })
  const headSize = reader.integer('attention_head_dim', 128, { min: 1, max: 1024 })
  const inChannels = reader.integer('in_channels', 128, { min: 1, max: 4096 })
  const axes = readAxes(reader, [32, 32, 32, 32], headSize)
  readPatchSize(reader)
  const ratio = reader.number('mlp_ratio', 3, { min: 0, max: 1024 })
  const inner = Math.trunc(heads * headSize * ratio)
  if (inner < 1) throw reader.invalid('mlp_ratio', 'a number that gives the feed-forward a width of at least 1')
  const result: Omit<Flux2Config, 'ignoredKeys'> = {
    heads,
    headSize,
    inner,
    inChannels,
    outChannels: readOutChannels(reader, inChannels, 1),
    layers: reader.integer('num_layers', 8, { min: 0, max: 256 }),
    singleLayers: reader.integer('num_single_layers', 48, { min: 0, max: 256 }),
    contextWidth: reader.integer('joint_attention_dim', 15360, { min: 1, max: 65536 }),
    timeWidth: reader.integer('timestep_guidance_channels', 256, { min: 2, max: 4096 }),
    axes,
    theta: reader.number('rope_theta', 2000, { min: 1e-6, max: 1e12 }),
    epsilon: reader.number('eps', 1e-6, { min: 0, max: 1e6 }),
    guidance: reader.boolean('guidance_embeds', true),
  }
  return { ...result, ignoredKeys: reader.finish() }
}

/** A TimestepEmbedding without biases: [batch, width] → [batch, channels]. */
function embedTime(graph: GraphBuilder, x: ValueInfo, name: string, channels: number): ValueInfo {
  const first = silu(graph, linear(graph, toCompute(graph, x), `${name}.linear_1`, channels, { bias: false }))
  return linear(graph, first, `${name}.linear_2`, channels, { bias: false })
}

/** @throws InputError */
function writeGraph(flux: Flux2Config, shape: Flux2Shape, options: WriteOptions): ComponentGraph {
  const { batch, height, width, sequenceLength, references } = shape
  const { latentEdge } = shapeLimits
  checkShape(
    { ...shape },
    { batch: shapeLimits.batch, height: latentEdge, width: latentEdge, sequenceLength: shapeLimits.sequenceLength },
  )
  const pixels = height * width
  const tokens = sequenceLength + pixels + references
  const channels = flux.heads * flux.headSize
  const component = new ComponentBuilder('Flux2Transformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, flux.inChannels, height, width])
  const given =
    references === 0 ? {} : { references: component.input(flux2References, 'float32', [1, references, flux.inChannels]) }
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, flux.contextWidth])
  const timestep = component.input('timestep_proj', 'float32', [batch, flux.timeWidth])
  const guided = flux.guidance ? { guidance: component.input('guidance_proj', 'float32', [batch, flux.timeWidth]) } : {}
  const { cos, sin } = rotaryInputs(component, tokens, flux.headSize)

  const { temb } = component.stage<Values<string>, 'temb'>('time_guidance_embed', { timestep, ...guided }, (graph, inputs) => {
    const embedded = Object.entries(inputs).map(([name, value]) => embedTime(graph, value, `${name}_embedder`, channels))
    // Every use of the time embedding begins with SiLU.
    return {
      temb: silu(
        graph,
        embedded.reduce((sum, value) => add(graph, sum, value)),
      ),
    }
  })
  const shared = (name: string, parts: readonly ModulationPart[]) =>
    component.stage(name, { temb }, (graph, inputs) => ({
      rows: modulationRows(graph, linear(graph, inputs.temb, 'linear', parts.length * channels, { bias: false }), parts),
    })).rows
  const image = shared('double_stream_modulation_img', twoBranchParts)
  const text = shared('double_stream_modulation_txt', twoBranchParts)
  const modulation = shared('single_stream_modulation', branchParts)

  const hidden = embedderStage<string>(
    component,
    'x_embedder',
    { latents, ...given },
    (graph, inputs) => {
      const rows = (value: ValueInfo) => transpose(graph, reshape(graph, value, [batch, flux.inChannels, pixels]), [0, 2, 1])
      const parts = Object.entries(inputs).map(([name, value]) => {
        const computed = toCompute(graph, value)
        return name === 'latents' ? rows(computed) : expand(graph, computed, [batch, references, flux.inChannels])
      })
      return concat(graph, parts, 1)
    },
    { channels, bias: false },
  )
  const context = embedderStage(component, 'context_embedder', { prompt }, (graph, inputs) => toCompute(graph, inputs.prompt), {
    channels,
    bias: false,
  })
  const joined = fluxBlocks(component, { hidden, context }, flux, {
    double: (name, streams) =>
      component.stage(name, { ...streams, image, text, cos, sin }, (graph, inputs) => ({
        ...flux2TransformerBlock(graph, inputs, inputs, inputs, flux),
      })),
    single: (name, all) =>
      component.stage(name, { joined: all, modulation, cos, sin }, (graph, inputs) => ({
        joined: flux2SingleTransformerBlock(graph, inputs.joined, inputs.modulation, inputs, flux),
      })).joined,
  })
  const { noise } = component.stage(
    'proj_out',
    { joined, temb },
    (graph, inputs) => {
      // The order is scale, then shift.
      const parts = ['scale', 'shift'] as const
      const [factor, shift] = modulations(graph, inputs.temb, 'norm_out.linear', channels, parts, { bias: false })
      const place = { begin: sequenceLength, end: sequenceLength + pixels }
      const output = { out: flux.outChannels, bias: false, epsilon: flux.epsilon }
      const rows = fluxOutput(graph, inputs.joined, place, { shift, factor }, output)
      const prediction = reshape(graph, transpose(graph, rows, [0, 2, 1]), [batch, flux.outChannels, height, width])
      return { noise: toFloat32(graph, prediction) }
    },
    '',
  )
  component.output('out_sample', noise)
  return component.finish()
}

/** The positions [tokens, 4] of the prompt, the latents and the reference images: reference image, row, column, place in the prompt. */
function positions({ sequenceLength, references = [], ...size }: PositionSize): Float32Array {
  const prompt = Array.from({ length: sequenceLength }, (_, place) => [0, 0, 0, place])
  // diffusers' `_prepare_image_ids` numbers the reference images 10, 20, 30, …
  const images = [size, ...references].flatMap(({ height, width }, index) =>
    Array.from({ length: height * width }, (_, pixel) => [10 * index, Math.floor(pixel / width), pixel % width, 0]),
  )
  return Float32Array.from([...prompt, ...images].flat())
}

const facts = {
  className: 'Flux2Transformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: { ...currentNames, unused: [] },
  quantizable: true,
  sensitive: {
    kept: /^(?:time_guidance_embed|x_embedder|context_embedder|norm_out|proj_out)\./,
    eightBits: /^(?:double|single)_stream_modulation(?:_img|_txt)?\./,
  },
  residual: 'float32',
} as const

/** The embeddings of timesteps, or of guidance scales times 1000: diffusers' network multiplies both inputs by 1000. */
function embedding(values: readonly number[], width: number): HostInput {
  return { dims: [values.length, width], data: timestepEmbedding(values, { width, flipSinToCos: true, freqShift: 0 }) }
}

/** The denoiser of FLUX.2. */
export const Flux2Transformer2DModel: DenoiserDefinition<Flux2Config> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { inChannels, outChannels, contextWidth, timeWidth } = config
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      smallest: { height: 2, width: 2 },
      shapes: ({ height, width, images = 1, guided = true, maxSequenceLength = fluxSequenceLength, references = [] }) => {
        const batch = images * (guided && !config.guidance ? 2 : 1)
        const tokens = references.reduce((sum, reference) => sum + reference.height * reference.width, 0)
        return {
          hidden_states: [batch, inChannels, height, width],
          ...(tokens === 0 ? {} : { [flux2References]: [1, tokens, inChannels] }),
          encoder_hidden_states: [batch, maxSequenceLength, contextWidth],
        }
      },
      write: (shapes, options) => {
        const { hidden_states: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } =
          shapes
        const [, references = 0] = shapes[flux2References] ?? []
        return writeGraph(config, { batch, height, width, sequenceLength, references }, options)
      },
      upcast: false,
      latents: {
        input: 'hidden_states',
        channels: inChannels,
        outChannels,
        patch: 1,
        sampleSize: { height: usualEdge, width: usualEdge },
      },
      promptInputs: ['encoder_hidden_states'],
      referenceInput: flux2References,
      contextWidth,
      promptMisfit: ({ hidden }) =>
        contextWidth === hidden ? undefined : { key: 'joint_attention_dim', value: contextWidth, allowed: hidden },
      stepInputs: (timesteps) => ({
        timestep_proj: embedding(
          timesteps.map((timestep) => Math.fround(Math.fround(timestep / 1000) * 1000)),
          timeWidth,
        ),
      }),
      guidanceInputs: config.guidance
        ? (scale, batch) => ({
            guidance_proj: embedding(Array<number>(batch).fill(Math.fround(Math.fround(scale) * 1000)), timeWidth),
          })
        : undefined,
      tableInputs: () => ({}),
      positionInputs: (size) => {
        const { cos, sin } = rotaryTables(positions(size), config)
        return { rotary_cos: cos, rotary_sin: sin }
      },
      skippableLayers: 0,
    }
  },
}
