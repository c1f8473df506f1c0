/** FluxTransformer2DModel of diffusers: FLUX.1 schnell and dev. Stages are the embeddings, each block and the output. */

import type { Config } from '../../checkpoint/types.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, silu } from '../../onnx/ops-math.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { fluxSingleTransformerBlock, fluxTransformerBlock } from '../layers/flux-blocks.js'
import { linear, timestepMlp, toCompute, toFloat32 } from '../layers/layers.js'
import { branchParts, modulationRows, modulations, twoBranchParts, type ModulationPart } from '../layers/modulation.js'
import { timestepEmbedding } from '../layers/timestep-embedding.js'
import { currentNames, type DenoiserDefinition, type HostInput } from '../types.js'
import {
  checkFluxShape,
  embedderStage,
  fluxBlocks,
  fluxImageTokens,
  fluxModel,
  fluxOutput,
  fluxShape,
  packed,
  readFluxConfig,
  rotaryInputs,
  unpacked,
  type FluxCommonConfig,
  type FluxShape,
} from './flux-parts.js'

interface FluxConfig extends FluxCommonConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  readonly pooledWidth: number
  /** Whether the guidance scale is an input. */
  readonly guidance: boolean
}

/** Fixed in diffusers' CombinedTimestepGuidanceTextProjEmbeddings. */
const timeSettings = { width: 256, flipSinToCos: true, freqShift: 0 }

function readConfig(config: Config): FluxConfig {
  const reader = new ConfigReader('FluxTransformer2DModel', config)
  const result = {
    ...readFluxConfig(reader),
    pooledWidth: reader.integer('pooled_projection_dim', 768, { min: 1, max: 65536 }),
    guidance: reader.boolean('guidance_embeds', false),
  }
  return { ...result, ignoredKeys: reader.finish() }
}

/** SiLU of CombinedTimestepTextProjEmbeddings, or with `guidance` of CombinedTimestepGuidanceTextProjEmbeddings. Every use of the embedding begins with SiLU. */
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
function writeGraph(flux: FluxConfig, shape: FluxShape, options: WriteOptions): ComponentGraph {
  checkFluxShape(shape)
  const { batch, height, width, sequenceLength } = shape
  const tokens = sequenceLength + fluxImageTokens(shape)
  const channels = flux.heads * flux.headSize
  const component = new ComponentBuilder('FluxTransformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, flux.inChannels / 4, height, width])
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, flux.contextWidth])
  const pooled = component.input('pooled_projections', 'float32', [batch, flux.pooledWidth])
  const timestep = component.input('timestep_proj', 'float32', [batch, timeSettings.width])
  const guidance = flux.guidance ? component.input('guidance_proj', 'float32', [batch, timeSettings.width]) : undefined
  const { cos, sin } = rotaryInputs(component, tokens, flux.headSize)

  const hidden = embedderStage(
    component,
    'x_embedder',
    { latents },
    (graph, inputs) => packed(graph, toCompute(graph, inputs.latents)),
    {
      channels,
    },
  )
  const { temb } =
    guidance === undefined
      ? component.stage('time_text_embed', { timestep, pooled }, (graph, inputs) => ({
          temb: timeEmbedding(graph, inputs, channels),
        }))
      : component.stage('time_text_embed', { timestep, pooled, guidance }, (graph, inputs) => ({
          temb: timeEmbedding(graph, inputs, channels),
        }))
  const context = embedderStage(component, 'context_embedder', { prompt }, (graph, inputs) => toCompute(graph, inputs.prompt), {
    channels,
  })
  // AdaLayerNormZero and AdaLayerNormZeroSingle: each block has the Linear of its modulations.
  const rows = (graph: GraphBuilder, time: ValueInfo, name: string, parts: readonly ModulationPart[]) =>
    modulationRows(graph, linear(graph, time, `${name}.linear`, parts.length * channels), parts)
  const joined = fluxBlocks(component, { hidden, context }, flux, {
    double: (name, streams) =>
      component.stage(name, { ...streams, temb, cos, sin }, (graph, inputs) => {
        const modulation = {
          image: rows(graph, inputs.temb, 'norm1', twoBranchParts),
          text: rows(graph, inputs.temb, 'norm1_context', twoBranchParts),
        }
        return { ...fluxTransformerBlock(graph, inputs, modulation, inputs, flux) }
      }),
    single: (name, all) =>
      component.stage(name, { joined: all, temb, cos, sin }, (graph, inputs) => ({
        joined: fluxSingleTransformerBlock(graph, inputs.joined, rows(graph, inputs.temb, 'norm', branchParts), inputs, flux),
      })).joined,
  })
  const { noise } = component.stage(
    'proj_out',
    { joined, temb },
    (graph, inputs) => {
      // The order is scale, then shift.
      const [factor, shift] = modulations(graph, inputs.temb, 'norm_out.linear', channels, ['scale', 'shift'] as const)
      const place = { begin: sequenceLength, end: tokens }
      const image = fluxOutput(graph, inputs.joined, place, { shift, factor }, { out: flux.outChannels })
      return { noise: toFloat32(graph, unpacked(graph, image, shape)) }
    },
    '',
  )
  component.output('out_sample', noise)
  return component.finish()
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
  sensitive: {
    kept: /^(?:time_text_embed|x_embedder|context_embedder|norm_out|proj_out)\./,
    eightBits: /^(?:transformer_blocks\.\d+\.norm1(?:_context)?|single_transformer_blocks\.\d+\.norm)\.linear\./,
  },
  residual: 'float32',
} as const

/** The denoiser of FLUX.1. */
export const FluxTransformer2DModel: DenoiserDefinition<FluxConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { contextWidth, pooledWidth } = config
    return {
      ...facts,
      // Runs have no classifier-free guidance: dev takes the guidance scale as an input, and schnell was distilled to run without guidance.
      ...fluxModel(config, false),
      config,
      ignoredKeys: config.ignoredKeys,
      write: (shapes, options) => writeGraph(config, fluxShape(shapes), options),
      promptInputs: ['encoder_hidden_states', 'pooled_projections'],
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
    }
  },
}
