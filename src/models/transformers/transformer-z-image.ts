/**
 * ZImageTransformer2DModel of diffusers: Z-Image and Z-Image-Turbo. Image tokens and prompt tokens are refined apart, and then pass through
 * the layers together, image tokens first. Both are padded to multiples of 32 with learned tokens, which take part in attention like all
 * others.
 *
 * diffusers' class counts time from noise (0) to image (1) and predicts the opposite of a velocity; its pipeline converts both. Here,
 * `stepInputs` converts the scheduler's timesteps, and the graph converts the prediction: `out_sample` is the velocity.
 *
 * Z-Image was trained in bfloat16. In float16 the residual stream is in float32. The input of the last product before an RMS norm is scaled
 * by a power of two, and the norm undoes the factor exactly. These norms are float32 too, because their weights can enlarge a few channels
 * beyond float16's range.
 */

import { ComponentBuilder, type Values } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, mul, scale, silu, sub } from '../../onnx/ops-math.js'
import { floats, scalar } from '../../onnx/constants.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { concat, dimension, expand, padEnd, reshape, slice, transpose } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { paddingBias } from '../layers/attention-bias.js'
import { scaledGatedFeedForward } from '../layers/gated-feed-forward.js'
import { linear, toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { addGated, addTanhGated, cutModulations, modulationRows, plainNorm } from '../layers/modulation.js'
import { headNorm, rmsNorm, scaledDown, wideRmsNorm } from '../layers/rms-norm.js'
import { rotary, type RotaryInputs } from '../layers/rotary-embedding.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { timestepEmbedding } from '../layers/timestep-embedding.js'
import { currentNames, type DenoiserDefinition } from '../types.js'
import { readZImageConfig, zImagePatch, type ZImageConfig } from './transformer-z-image-config.js'
import { imageTokens, paddedLength, zImageSequences } from './z-image-tokens.js'

/** Fixed in diffusers' TimestepEmbedder. */
const timeSettings = { width: 256, flipSinToCos: true, freqShift: 0 }
const timeHidden = 1024

/** diffusers' default of `max_sequence_length` in ZImagePipeline. */
export const zImageSequenceLength = 512

/** Latent pixels along an edge of 1024 pixels, diffusers' default. */
const usualEdge = 128

/** A float16 graph divides the inputs of the last product of attention and of the feed-forward by 2 to these powers. */
const exponents = { attention: 4, feedForward: 7 } as const

/** Sizes in latent pixels; the batch counts both halves of guidance. */
interface ZImageShape {
  readonly batch: number
  readonly height: number
  readonly width: number
  /** Tokens of the longest prompt. */
  readonly sequenceLength: number
  /** Whether the padded prompts of the batch differ in length, so that no token attends to the last tokens of the shorter ones. */
  readonly masked: boolean
}

/** The values that blocks read besides their tokens. */
interface Shared extends RotaryInputs {
  readonly bias?: ValueInfo | undefined
  /** The time embedding [batch, width], for blocks with modulation. */
  readonly temb?: ValueInfo | undefined
}

/** @throws InputError `invalid-shape` */
function writeGraph(config: ZImageConfig, shape: ZImageShape, options: WriteOptions): ComponentGraph {
  const { batch, height, width, sequenceLength, masked } = shape
  checkShape({ batch, sequenceLength }, { batch: shapeLimits.batch, sequenceLength: shapeLimits.encodedTokens })
  const textTokens = paddedLength(sequenceLength)
  const { rows, columns, tokens } = imageTokens(config, shape)
  const { channels, headSize } = config
  const component = new ComponentBuilder('ZImageTransformer2DModel', options)
  const latents = component.input('hidden_states', 'float32', [batch, config.inChannels, height, width])
  const timestep = component.input('timestep_proj', 'float32', [batch, timeSettings.width])
  const prompt = component.input('encoder_hidden_states', 'float32', [batch, sequenceLength, config.contextWidth])
  const pads = component.input('text_pads', 'float32', [batch, textTokens])
  const table = [batch, tokens + textTokens, headSize / 2]
  const cos = component.input('rotary_cos', 'float32', table)
  const sin = component.input('rotary_sin', 'float32', table)

  const tables = component.stage('rotary', { cos, sin }, (graph, inputs) => rotaryParts(graph, inputs, tokens))
  const masks = masked ? maskBiases(component, batch, tokens, textTokens) : undefined
  const { temb } = component.stage('t_embedder', { timestep }, (graph, inputs) => {
    const first = silu(graph, linear(graph, toCompute(graph, inputs.timestep), 'mlp.0', timeHidden))
    return { temb: linear(graph, first, 'mlp.2', config.timeWidth) }
  })

  let image = component.stage(
    'x_embedder',
    { latents },
    (graph, inputs) => {
      const patches = toPatches(graph, toCompute(graph, inputs.latents), rows, columns)
      const embedded = toFloat32(graph, tokenLinear(graph, patches, `all_x_embedder.${zImagePatch.key}`, channels))
      return { hidden: withPadTokens(graph, embedded, tokens, channels) }
    },
    '',
  ).hidden
  for (let index = 0; index < config.refinerLayers; index++)
    image = blockStage(component, `noise_refiner.${index}`, image, { cos: tables.imageCos, sin: tables.imageSin, temb }, config)

  let text = component.stage(
    'cap_embedder',
    { prompt, pads },
    (graph, inputs) => {
      const padded = padEnd(graph, inputs.prompt, 1, textTokens - sequenceLength)
      const normed = toCompute(graph, rmsNorm(graph, padded, 'cap_embedder.0', config.epsilon))
      const embedded = toFloat32(graph, tokenLinear(graph, normed, 'cap_embedder.1', channels))
      return { hidden: replacePads(graph, embedded, inputs.pads, channels) }
    },
    '',
  ).hidden
  for (let index = 0; index < config.refinerLayers; index++) {
    const shared = { cos: tables.textCos, sin: tables.textSin, bias: masks?.text }
    text = blockStage(component, `context_refiner.${index}`, text, shared, config)
  }

  let { hidden } = component.stage('unified', { image, text }, (graph, inputs) => ({
    hidden: concat(graph, [inputs.image, inputs.text], 1),
  }))
  for (let index = 0; index < config.layers; index++) {
    const shared = { cos: tables.cos, sin: tables.sin, bias: masks?.all, temb }
    hidden = blockStage(component, `layers.${index}`, hidden, shared, config)
  }
  const final = `all_final_layer.${zImagePatch.key}`
  const { velocity } = component.stage(final, { hidden, temb }, (graph, inputs) => {
    const own = slice(graph, inputs.hidden, 1, 0, rows * columns)
    const modulation = linear(graph, silu(graph, inputs.temb), 'adaLN_modulation.1', channels)
    const scales = ['scale'] as const
    const [factor] = cutModulations(graph, modulationRows(graph, modulation, scales), scales)
    const normed = toCompute(graph, mul(graph, plainNorm(graph, own), factor))
    const patches = tokenLinear(graph, normed, 'linear', zImagePatch.edge ** 2 * config.inChannels)
    // The class predicts the opposite of the velocity.
    return { velocity: scale(graph, toFloat32(graph, fromPatches(graph, patches, { rows, columns }, config.inChannels)), -1) }
  })
  component.output('out_sample', velocity)
  return component.finish()
}

/** The tables [batch, tokens, pairs] of image tokens, of prompt tokens and of both, as [batch · tokens, pairs]. */
function rotaryParts(graph: GraphBuilder, { cos, sin }: RotaryInputs, imageLength: number) {
  const all = dimension(cos, 1)
  const part = (x: ValueInfo, begin: number, end: number) =>
    reshape(graph, slice(graph, x, 1, begin, end), [dimension(x, 0) * (end - begin), dimension(x, 2)])
  return {
    cos: part(cos, 0, all),
    sin: part(sin, 0, all),
    imageCos: part(cos, 0, imageLength),
    imageSin: part(sin, 0, imageLength),
    textCos: part(cos, imageLength, all),
    textSin: part(sin, imageLength, all),
  }
}

/** The attention biases of a batch of prompts with different padded lengths, from an input `encoder_attention_mask`. */
function maskBiases(component: ComponentBuilder, batch: number, tokens: number, textTokens: number) {
  const mask = component.input('encoder_attention_mask', 'float32', [batch, textTokens])
  return component.stage('encoder_attention_mask', { mask }, (graph, inputs) => {
    const text = paddingBias(graph, inputs.mask)
    const none = expand(graph, floats(graph, [0], [1, 1, 1, 1], text.type), [batch, 1, 1, tokens])
    const all = concat(graph, [none, text], 3)
    const length = tokens + textTokens
    return {
      text: expand(graph, text, [batch, 1, textTokens, textTokens]),
      all: expand(graph, all, [batch, 1, length, length]),
    }
  })
}

/** One ZImageTransformerBlock as a stage. */
function blockStage(
  component: ComponentBuilder,
  name: string,
  hidden: ValueInfo,
  shared: Shared,
  config: ZImageConfig,
): ValueInfo {
  const { cos, sin, bias, temb } = shared
  const values: Values<'hidden' | 'cos' | 'sin'> = {
    hidden,
    cos,
    sin,
    ...(bias === undefined ? {} : { bias }),
    ...(temb === undefined ? {} : { temb }),
  }
  return component.stage(name, values, (graph, inputs) => ({ hidden: block(graph, inputs.hidden, inputs, config) })).hidden
}

/** ZImageTransformerBlock on the float32 residual stream [batch, tokens, channels]. */
function block(graph: GraphBuilder, residual: ValueInfo, shared: Shared, config: ZImageConfig): ValueInfo {
  const { channels, epsilon } = config
  const rows = shared.temb && linear(graph, shared.temb, 'adaLN_modulation.0', 4 * channels)
  const parts = ['scale', 'gate', 'scale', 'gate'] as const
  const [attentionFactor, attentionGate, feedFactor, feedGate] =
    rows === undefined ? [] : cutModulations(graph, modulationRows(graph, rows, parts), parts)
  const normed = (x: ValueInfo, name: string, factor: ValueInfo | undefined) => {
    const value = rmsNorm(graph, x, name, epsilon)
    return toCompute(graph, factor === undefined ? value : mul(graph, value, factor))
  }
  const added = (x: ValueInfo, update: ValueInfo, gate: ValueInfo | undefined) =>
    gate === undefined ? add(graph, x, update) : addTanhGated(graph, x, gate, update)

  const attended = attention(graph, normed(residual, 'attention_norm1', attentionFactor), shared, config)
  const update = wideRmsNorm(graph, attended, 'attention_norm2', epsilon, exponents.attention)
  const middle = added(residual, update, attentionGate)
  const fed = feedForward(graph, normed(middle, 'ffn_norm1', feedFactor), config)
  const second = wideRmsNorm(graph, fed, 'ffn_norm2', epsilon, exponents.feedForward)
  return added(middle, second, feedGate)
}

/** Attention with the processor of Z-Image. In float16 the result is scaled down. */
function attention(graph: GraphBuilder, x: ValueInfo, { cos, sin, bias }: Shared, config: ZImageConfig): ValueInfo {
  const { channels, heads, headSize, qkNorm } = config
  return graph.scoped('attention', () => {
    const project = (name: string) => tokenLinear(graph, x, name, channels, { bias: false })
    const turned = (name: string, norm: string) => {
      const value = project(name)
      const normed = qkNorm ? headNorm(graph, value, norm, headSize, 1e-5) : value
      return rotary(graph, normed, { cos, sin }, 'neighbours')
    }
    const operands = { query: turned('to_q', 'norm_q'), key: turned('to_k', 'norm_k'), value: project('to_v'), bias }
    const attended = scaledDown(graph, multiHeadAttention(graph, operands, heads), exponents.attention)
    return tokenLinear(graph, attended, 'to_out.0', channels, { bias: false })
  })
}

const feedForwardNames = { gate: 'w1', value: 'w3', out: 'w2' } as const

/** SwiGLU. In float16 the result is scaled down. */
function feedForward(graph: GraphBuilder, x: ValueInfo, { feedForwardWidth }: ZImageConfig): ValueInfo {
  return graph.scoped('feed_forward', () =>
    scaledGatedFeedForward(graph, x, feedForwardNames, feedForwardWidth, 'silu', exponents.feedForward),
  )
}

/** [batch, channels, height, width] → [batch, rows · columns, patch · patch · channels]. */
function toPatches(graph: GraphBuilder, x: ValueInfo, rows: number, columns: number): ValueInfo {
  const { edge } = zImagePatch
  const [batch, channels] = [dimension(x, 0), dimension(x, 1)]
  const grid = reshape(graph, x, [batch, channels, rows, edge, columns, edge])
  return reshape(graph, transpose(graph, grid, [0, 2, 4, 3, 5, 1]), [batch, rows * columns, edge * edge * channels])
}

/** The inverse of {@link toPatches}. */
function fromPatches(
  graph: GraphBuilder,
  x: ValueInfo,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  channels: number,
): ValueInfo {
  const { edge } = zImagePatch
  const batch = dimension(x, 0)
  const grid = reshape(graph, x, [batch, rows, columns, edge, edge, channels])
  return reshape(graph, transpose(graph, grid, [0, 5, 1, 3, 2, 4]), [batch, channels, rows * edge, columns * edge])
}

/** Appends the learned padding token until there are `length` tokens. */
function withPadTokens(graph: GraphBuilder, x: ValueInfo, length: number, channels: number): ValueInfo {
  const missing = length - dimension(x, 1)
  if (missing === 0) return x
  const token = reshape(graph, toFloat32(graph, graph.weight('x_pad_token', [1, channels])), [1, 1, channels])
  return concat(graph, [x, expand(graph, token, [dimension(x, 0), missing, channels])], 1)
}

/** Replaces tokens by the learned padding token where `pads` [batch, tokens] is 1. */
function replacePads(graph: GraphBuilder, x: ValueInfo, pads: ValueInfo, channels: number): ValueInfo {
  const token = reshape(graph, toFloat32(graph, graph.weight('cap_pad_token', [1, channels])), [1, 1, channels])
  const isPad = reshape(graph, pads, [...pads.dims, 1])
  const kept = mul(graph, x, sub(graph, scalar(graph, 1, 'float32'), isPad))
  return addGated(graph, kept, isPad, token)
}

const facts = {
  className: 'ZImageTransformer2DModel',
  library: 'diffusers',
  role: 'denoiser',
  weights: {
    ...currentNames,
    unused: [
      [/^x_pad_token$/, 'images of this size need no padding'],
      [/^siglip_/, 'ZImagePipeline takes no features of images'],
      [new RegExp(`^all_(x_embedder|final_layer)\\.(?!${zImagePatch.key}\\.)`), 'ZImagePipeline runs with one size of patches'],
    ],
  },
  quantizable: true,
  sensitive: {
    kept: /^(?:t_embedder|cap_embedder|all_x_embedder|all_final_layer)\./,
    eightBits: /^(?:layers|noise_refiner)\.\d+\.adaLN_modulation\./,
  },
  residual: 'float32',
} as const

/** The denoiser of Z-Image. */
export const ZImageTransformer2DModel: DenoiserDefinition<ZImageConfig> = {
  ...facts,
  fromConfig: (given) => {
    const config = readZImageConfig(given)
    const { inChannels, contextWidth, positions } = config
    const [, rows = 1, columns = 1] = positions.map((count) => Math.min(count * zImagePatch.edge, usualEdge))
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: zImagePatch.edge, width: zImagePatch.edge },
      shapes: ({ height, width, images = 1, guided = true, maxSequenceLength = zImageSequenceLength }) => {
        const batch = images * (guided ? 2 : 1)
        return {
          hidden_states: [batch, inChannels, height, width],
          encoder_hidden_states: [batch, maxSequenceLength, contextWidth],
          // The prompt and the negative prompt rarely have the same length.
          ...(guided ? { encoder_attention_mask: [batch, paddedLength(maxSequenceLength)] } : {}),
        }
      },
      write: (shapes, options) => {
        const { hidden_states: [batch = 0, , height = 0, width = 0] = [], encoder_hidden_states: [, sequenceLength = 0] = [] } =
          shapes
        const masked = shapes['encoder_attention_mask'] !== undefined
        return writeGraph(config, { batch, height, width, sequenceLength, masked }, options)
      },
      upcast: false,
      latents: {
        input: 'hidden_states',
        channels: inChannels,
        outChannels: inChannels,
        patch: zImagePatch.edge,
        sampleSize: { height: rows, width: columns },
      },
      promptInputs: ['encoder_hidden_states'],
      contextWidth,
      promptMisfit: ({ hidden }) =>
        contextWidth === hidden ? undefined : { key: 'cap_feat_dim', value: contextWidth, allowed: hidden },
      stepInputs: (timesteps) => {
        const times = timesteps.map((timestep) => Math.fround(Math.fround((1000 - timestep) / 1000) * config.timeScale))
        return { timestep_proj: { dims: [timesteps.length, timeSettings.width], data: timestepEmbedding(times, timeSettings) } }
      },
      tableInputs: () => ({}),
      positionInputs: ({ textLengths, sequenceLength, ...size }) =>
        zImageSequences(config, size, textLengths ?? [sequenceLength]),
      skippableLayers: 0,
    }
  },
}
