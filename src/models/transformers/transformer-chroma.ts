/**
 * ChromaTransformer2DModel of diffusers: FLUX.1's blocks without the Linears of their modulations. An approximator,
 * `distilled_guidance_layer`, computes all modulations from the timestep: one vector for each shift, scale and gate. Stages are the
 * embeddings, the approximator, each block and the output.
 *
 * diffusers' attention adds the mask of the prompt to the scores: 1 if both tokens are attended to, else 0. So padding is not left out, but
 * its weight is smaller by the factor e. The graph does the same.
 */

import type { Config } from '../../checkpoint/types.js'
import { floats } from '../../onnx/constants.js'
import { ComponentBuilder, type Values } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul, silu } from '../../onnx/ops-math.js'
import { concat, dimension, expand, reshape, slice } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import type { FluxAttentionInputs } from '../layers/flux-attention.js'
import { fluxSingleTransformerBlock, fluxTransformerBlock } from '../layers/flux-blocks.js'
import { toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { branchParts, cutModulations, modulationRows, twoBranchParts, type ModulationPart } from '../layers/modulation.js'
import { rmsNorm } from '../layers/rms-norm.js'
import { timestepEmbedding, type TimestepSettings } from '../layers/timestep-embedding.js'
import { wideLinear } from '../layers/wide-linear.js'
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

interface ChromaConfig extends FluxCommonConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** The channels of the approximator's input. */
  readonly timeWidth: number
  readonly approximatorWidth: number
  readonly approximatorLayers: number
}

/** torch.finfo(torch.float32).eps, the default of torch.nn.RMSNorm. */
const epsilon = 2 ** -23

function readConfig(config: Config): ChromaConfig {
  const reader = new ConfigReader('ChromaTransformer2DModel', config)
  const result = {
    ...readFluxConfig(reader),
    timeWidth: reader.integer('approximator_num_channels', 64, { min: 4, max: 4096 }),
    approximatorWidth: reader.integer('approximator_hidden_dim', 5120, { min: 1, max: 65536 }),
    approximatorLayers: reader.integer('approximator_layers', 5, { min: 0, max: 64 }),
  }
  if (result.timeWidth % 4 !== 0) throw reader.invalid('approximator_num_channels', 'a multiple of 4')
  return { ...result, ignoredKeys: reader.finish() }
}

/** How many modulations [channels] there are: three for each single block, then six for each stream of a double block, then two for the output. */
function modulationCount({ layers, singleLayers }: Pick<ChromaConfig, 'layers' | 'singleLayers'>): number {
  return 3 * singleLayers + 12 * layers + 2
}

/** ChromaApproximator: [batch, modulations, in] → [batch, modulations, channels]. Its residual stream is float32. */
function approximate(graph: GraphBuilder, input: ValueInfo, chroma: ChromaConfig, channels: number): ValueInfo {
  const { approximatorWidth: width, approximatorLayers: layers } = chroma
  let hidden = toFloat32(graph, tokenLinear(graph, toCompute(graph, input), 'in_proj', width))
  for (let index = 0; index < layers; index++) {
    const normed = toCompute(graph, rmsNorm(graph, hidden, `norms.${index}`, epsilon))
    const inner = silu(graph, tokenLinear(graph, normed, `layers.${index}.linear_1`, width))
    hidden = add(graph, hidden, wideLinear(graph, inner, `layers.${index}.linear_2`, width))
  }
  return tokenLinear(graph, toCompute(graph, hidden), 'out_proj', channels)
}

/** The modulation of the output. */
const outParts = ['shift', 'scale'] as const

/** The modulations of each block and stream, and of the output, as rows (modulation.ts): `single_0`, …, `image_0`, …, `text_0`, … and `out`. */
function cutPlaces(graph: GraphBuilder, all: ValueInfo, { layers, singleLayers }: ChromaConfig): Values<string> {
  const [batch, channels] = [dimension(all, 0), dimension(all, 2)]
  let end = 0
  const next = (parts: readonly ModulationPart[]) => {
    const begin = end
    end += parts.length
    return modulationRows(graph, reshape(graph, slice(graph, all, 1, begin, end), [batch, parts.length * channels]), parts)
  }
  const named = (name: string, places: number, parts: readonly ModulationPart[]) =>
    Array.from({ length: places }, (_, index) => [`${name}_${index}`, next(parts)] as const)
  const single = named('single', singleLayers, branchParts)
  const double = [...named('image', layers, twoBranchParts), ...named('text', layers, twoBranchParts)]
  return { ...Object.fromEntries([...single, ...double]), out: next(outParts) }
}

/** The name of the bias that attention adds to the scores of one row of the batch. */
type BiasName = `bias_${number}`

/**
 * For each row of the batch, the values that attention adds to its scores, [1, 1, tokens, tokens]: 1 if both tokens are attended to, else
 * 0. `mask`: [batch, prompt tokens].
 */
function maskBiases(graph: GraphBuilder, mask: ValueInfo, imageTokens: number): Values<BiasName> {
  const given = toCompute(graph, mask)
  const image = expand(graph, floats(graph, [1], [1, 1], given.type), [1, imageTokens])
  const rows = Array.from({ length: dimension(given, 0) }, (_, row) => {
    const whole = concat(graph, [slice(graph, given, 0, row, row + 1), image], 1)
    const tokens = dimension(whole, 1)
    const product = mul(graph, reshape(graph, whole, [1, 1, tokens, 1]), reshape(graph, whole, [1, 1, 1, tokens]))
    return [`bias_${row}`, product] as const
  })
  return Object.fromEntries(rows)
}

/** The inputs of attention in a block: the rotary tables, and a list of the biases of all rows. */
function attentionInputs(inputs: Values<'cos' | 'sin' | BiasName>): FluxAttentionInputs {
  const biases = Object.entries(inputs).filter(([name]) => name.startsWith('bias_'))
  return { cos: inputs.cos, sin: inputs.sin, biases: biases.map(([, value]) => value) }
}

/** @throws InputError */
function writeGraph(chroma: ChromaConfig, shape: FluxShape, options: WriteOptions): ComponentGraph {
  checkFluxShape(shape)
  const { batch, height, width, sequenceLength } = shape
  const imageTokens = fluxImageTokens(shape)
  const tokens = sequenceLength + imageTokens
  const channels = chroma.heads * chroma.headSize
  const component = new ComponentBuilder('ChromaTransformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, chroma.inChannels / 4, height, width])
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, chroma.contextWidth])
  const mask = component.input('attention_mask', 'float32', [batch, sequenceLength])
  const timestep = component.input('timestep_proj', 'float32', [batch, modulationCount(chroma), chroma.timeWidth])
  const { cos, sin } = rotaryInputs(component, tokens, chroma.headSize)

  const hidden = embedderStage(
    component,
    'x_embedder',
    { latents },
    (graph, inputs) => packed(graph, toCompute(graph, inputs.latents)),
    {
      channels,
    },
  )
  const context = embedderStage(component, 'context_embedder', { prompt }, (graph, inputs) => toCompute(graph, inputs.prompt), {
    channels,
  })
  const biases = component.stage('attention_mask', { mask }, (graph, inputs) => maskBiases(graph, inputs.mask, imageTokens))
  const { modulation } = component.stage('distilled_guidance_layer', { timestep }, (graph, inputs) => ({
    modulation: approximate(graph, inputs.timestep, chroma, channels),
  }))
  const places = component.stage<Values<'modulation'>, string>('modulation', { modulation }, (graph, inputs) =>
    cutPlaces(graph, inputs.modulation, chroma),
  )
  const place = (name: string): ValueInfo => {
    const rows = places[name]
    if (rows === undefined) throw new Error(`There is no modulation ${name}`)
    return rows
  }
  const shared: Values<'cos' | 'sin' | BiasName> = { cos, sin, ...biases }
  const joined = fluxBlocks(component, { hidden, context }, chroma, {
    double: (name, streams, index) => {
      const values = { ...streams, image: place(`image_${index}`), text: place(`text_${index}`), ...shared }
      return component.stage(name, values, (graph, inputs) => ({
        ...fluxTransformerBlock(graph, inputs, inputs, attentionInputs(inputs), chroma),
      }))
    },
    single: (name, all, index) =>
      component.stage(name, { joined: all, rows: place(`single_${index}`), ...shared }, (graph, inputs) => ({
        joined: fluxSingleTransformerBlock(graph, inputs.joined, inputs.rows, attentionInputs(inputs), chroma),
      })).joined,
  })
  const { noise } = component.stage(
    'proj_out',
    { joined, rows: place('out') },
    (graph, inputs) => {
      const [shift, factor] = cutModulations(graph, inputs.rows, outParts)
      const image = fluxOutput(
        graph,
        inputs.joined,
        { begin: sequenceLength, end: tokens },
        { shift, factor },
        { out: chroma.outChannels },
      )
      return { noise: toFloat32(graph, unpacked(graph, image, shape)) }
    },
    '',
  )
  component.output('out_sample', noise)
  return component.finish()
}

const { fround } = Math

/** Fixed in diffusers' ChromaCombinedTimestepTextProjEmbeddings. */
function settings(width: number): TimestepSettings {
  return { width, flipSinToCos: true, freqShift: 0 }
}

/**
 * ChromaCombinedTimestepTextProjEmbeddings, [timesteps, modulations, width]: side by side, the embeddings of the timestep, of a guidance of
 * 0, and of the modulation's index. The pipeline divides the timestep by 1000, and the network multiplies it by 1000 again.
 */
function timeInput(timesteps: readonly number[], chroma: ChromaConfig): HostInput {
  const { timeWidth } = chroma
  const quarter = timeWidth / 4
  const count = modulationCount(chroma)
  const times = timestepEmbedding(
    timesteps.map((timestep) => fround(fround(timestep / 1000) * 1000)),
    settings(quarter),
  )
  const guidance = timestepEmbedding([0], settings(quarter))
  const indices = Array.from({ length: count }, (_, index) => index * 1000)
  const places = timestepEmbedding(indices, settings(2 * quarter))
  const data = new Float32Array(timesteps.length * count * timeWidth)
  for (let row = 0; row < timesteps.length; row++) {
    for (let index = 0; index < count; index++) {
      const at = (row * count + index) * timeWidth
      data.set(times.subarray(row * quarter, (row + 1) * quarter), at)
      data.set(guidance, at + quarter)
      data.set(places.subarray(index * 2 * quarter, (index + 1) * 2 * quarter), at + 2 * quarter)
    }
  }
  return { dims: [timesteps.length, count, timeWidth], data }
}

const facts = {
  className: 'ChromaTransformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: { ...currentNames, unused: [] },
  quantizable: true,
  // `distilled_guidance_layer` computes the modulations of all blocks, so its errors would affect every block.
  sensitive: { kept: /^(?:x_embedder|context_embedder|proj_out)\./, eightBits: /^distilled_guidance_layer\./ },
  residual: 'float32',
} as const

/** The denoiser of Chroma. */
export const ChromaTransformer2DModel: DenoiserDefinition<ChromaConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { contextWidth } = config
    return {
      ...facts,
      ...fluxModel(config, true),
      config,
      ignoredKeys: config.ignoredKeys,
      write: (shapes, options) => writeGraph(config, fluxShape(shapes), options),
      promptInputs: ['encoder_hidden_states', 'attention_mask'],
      promptMisfit: ({ hidden }) =>
        contextWidth === hidden ? undefined : { key: 'joint_attention_dim', value: contextWidth, allowed: hidden },
      stepInputs: (timesteps) => ({ timestep_proj: timeInput(timesteps, config) }),
    }
  },
}
