/**
 * CLIPTextModel and CLIPTextModelWithProjection of transformers. The graph begins at the token embeddings, whose rows the host reads
 * (the table is large and a prompt needs 77 rows of it), and the pooled output is the row that the host chooses from the token ids.
 */

import type { Config } from '../../checkpoint/types.js'
import { InputError } from '../../errors.js'
import { ComponentBuilder, type Values } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { gelu, matMul, quickGelu } from '../../onnx/ops-math.js'
import { layerNormalization, multiHeadAttention } from '../../onnx/ops-network.js'
import { reshape, slice } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { causalBias, causalPaddingBias } from '../layers/attention-bias.js'
import { addToResidual, layerNorm, linear, toCompute, toFloat32 } from '../layers/layers.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { embeddingOnHost } from '../layers/token-embedding.js'
import { currentNames, type GraphVariant, type HiddenState, type TextEncoderDefinition, type WeightNames } from '../types.js'
import { numbered } from './encoder-variants.js'

type ClipTextClass = 'CLIPTextModel' | 'CLIPTextModelWithProjection'

interface ClipTextShape {
  readonly batch: number
  readonly sequenceLength: number
}

/** The values of a CLIP text config, checked. */
interface ClipTextConfig {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Keys of the class whose values have no effect here. */
  readonly unusedValues: Config
  readonly className: ClipTextClass
  readonly vocabulary: number
  readonly width: number
  readonly intermediate: number
  readonly projection: number
  readonly layers: number
  readonly heads: number
  readonly positions: number
  readonly activation: 'quick_gelu' | 'gelu' | 'gelu_pytorch_tanh'
  readonly epsilon: number
  readonly endOfText: number
}

/**
 * The text encoder's part of the config of a whole CLIPModel; transformers reads nothing else of that config. Where an old file has both
 * `text_config` and `text_config_dict`, the values of the latter have priority.
 */
function textConfig(config: Config): Config {
  const parts = [config['text_config'], config['text_config_dict']].filter((part) => part !== undefined)
  return parts.length === 0 ? config : Object.assign({}, ...parts.map((part) => (isConfig(part) ? part : {})))
}

function isConfig(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readConfig(className: ClipTextClass, given: Config): ClipTextConfig {
  const reader = new ConfigReader(className, textConfig(given))
  const width = reader.integer('hidden_size', 512, { min: 1, max: 16384 })
  const heads = reader.integer('num_attention_heads', 8, { min: 1, max: 1024 })
  if (width % heads !== 0) throw reader.invalid('num_attention_heads', `a divisor of hidden_size ${width}`)
  const result: Omit<ClipTextConfig, 'ignoredKeys' | 'unusedValues'> = {
    className,
    vocabulary: reader.integer('vocab_size', 49408, { min: 1, max: 2 ** 24 }),
    width,
    heads,
    intermediate: reader.integer('intermediate_size', 2048, { min: 1, max: 65536 }),
    // CLIPTextModel has no projection and does not read its width.
    projection: className === 'CLIPTextModel' ? 0 : reader.integer('projection_dim', 512, { min: 1, max: 16384 }),
    layers: reader.integer('num_hidden_layers', 12, { min: 1, max: 128 }),
    positions: reader.integer('max_position_embeddings', 77, { min: 1, max: 65536 }),
    activation: reader.oneOf('hidden_act', 'quick_gelu', ['quick_gelu', 'gelu', 'gelu_pytorch_tanh']),
    epsilon: reader.number('layer_norm_eps', 1e-5, { min: 0, max: 1 }),
    endOfText: reader.integer('eos_token_id', 49407, { min: -(2 ** 24), max: 2 ** 24 }),
  }
  // Refused: with `use_attention_mask`, diffusers passes the encoder an attention mask.
  reader.requireFalse('use_attention_mask')
  // CLIPTextModel has no projection, but its configs name the width of one.
  if (className === 'CLIPTextModel' && !Number.isInteger(reader.raw('projection_dim') ?? 0)) reader.unused('projection_dim')
  // Keys for training, for generating text, or for the form of Python's results.
  reader.unused('attention_dropout', 0)
  reader.unused('dropout', 0)
  reader.unused('initializer_factor', 1)
  reader.unused('initializer_range', 0.02)
  reader.unusedTokens('bos_token_id', 'pad_token_id')
  for (const key of ['return_dict', 'use_return_dict', 'tie_word_embeddings', 'use_cache']) reader.unused(key, true)
  for (const key of ['output_hidden_states', 'output_attentions', 'is_decoder']) reader.unused(key)
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** The index of a hidden state, counted from the first. @throws InputError `invalid-hidden-state` */
function hiddenStateIndex({ className, layers }: ClipTextConfig, { index }: HiddenState): number {
  const count = layers + 1
  const fromFirst = index < 0 ? count + index : index
  if (Number.isInteger(fromFirst) && fromFirst >= 0 && fromFirst < count) return fromFirst
  const message = `hiddenState.index is ${index}; ${className} has hidden states ${-count} to ${count - 1}`
  throw new InputError('invalid-hidden-state', message, { index, min: -count, max: count - 1 })
}

/** The hidden state that diffusers takes from the CLIP encoders of SDXL and SD3: the last but one, without the final norm. */
const penultimate: readonly HiddenState[] = [{ index: -2, finalLayerNorm: false }]

/** @throws InputError */
function writeGraph(clip: ClipTextConfig, shape: ClipTextShape, options: WriteOptions, variant: GraphVariant): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, sequenceLength: Math.min(clip.positions, shapeLimits.encodedTokens) })
  const wanted = variant.hiddenStates ?? penultimate
  const chosen = wanted.map((state) => hiddenStateIndex(clip, state))

  const component = new ComponentBuilder(clip.className, options)
  const { batch, sequenceLength } = shape
  const embeds = component.input('inputs_embeds', 'float32', [batch, sequenceLength, clip.width])
  const pooling = component.input('pooling', 'float32', [batch, sequenceLength])

  let { hidden } = component.stage('text_model.embeddings', { embeds }, (graph, inputs) => {
    const table = graph.weight('position_embedding.weight', [clip.positions, clip.width])
    const positions = slice(graph, table, 0, 0, sequenceLength)
    const sum = addToResidual(graph, inputs.embeds, positions)
    return { hidden: reshape(graph, sum, [batch * sequenceLength, clip.width]) }
  })
  const masked = variant.attentionMask === true ? maskedBias(component, shape) : undefined
  const states = [hidden]
  for (let index = 0; index < clip.layers; index++) {
    const name = `text_model.encoder.layers.${index}`
    const stage =
      masked === undefined
        ? component.stage(name, { hidden }, (graph, inputs) => ({
            hidden: encoderLayer(graph, inputs.hidden, () => causalBias(graph, sequenceLength), clip, shape),
          }))
        : component.stage(name, { hidden, bias: masked }, (graph, inputs) => ({
            hidden: encoderLayer(graph, inputs.hidden, () => inputs.bias, clip, shape),
          }))
    hidden = stage.hidden
    states.push(hidden)
  }

  const last = hidden
  const stateInputs = chosen.map((index, place) => [numbered('state', place), states[index] ?? last] as const)
  const outputs = component.stage<Values<'hidden' | 'pooling' | `state${string}`>, 'last' | 'pooled' | `chosen${string}`>(
    'text_model.final_layer_norm',
    { hidden, ...(Object.fromEntries(stateInputs) as Record<`state${string}`, ValueInfo>), pooling },
    (graph, inputs) => {
      const dims = [batch, sequenceLength, clip.width]
      const weight = toFloat32(graph, graph.weight('text_model.final_layer_norm.weight', [clip.width]))
      const bias = toFloat32(graph, graph.weight('text_model.final_layer_norm.bias', [clip.width]))
      const norm = (x: ValueInfo) => layerNormalization(graph, x, weight, bias, clip.epsilon)
      const last = reshape(graph, norm(inputs.hidden), dims)
      const pooled = reshape(graph, matMul(graph, reshape(graph, inputs.pooling, [batch, 1, sequenceLength]), last), [
        batch,
        clip.width,
      ])
      const raw = wanted.map(({ finalLayerNorm }, place) => {
        const state = inputs[numbered('state', place)] ?? inputs.hidden
        return finalLayerNorm ? norm(state) : state
      })
      const chosenOutputs = raw.map((state, place) => [numbered('chosen', place), reshape(graph, state, dims)] as const)
      const rest = { last, ...(Object.fromEntries(chosenOutputs) as Record<`chosen${string}`, ValueInfo>) }
      if (clip.className === 'CLIPTextModel') return { ...rest, pooled }
      const projected = linear(graph, toCompute(graph, pooled), 'text_projection', clip.projection, { bias: false })
      return { ...rest, pooled: toFloat32(graph, projected) }
    },
    '',
  )
  component.output('last_hidden_state', outputs.last)
  for (const place of wanted.keys())
    component.output(numbered('hidden_state', place), outputs[numbered('chosen', place)] ?? outputs.last)
  component.output(clip.className === 'CLIPTextModel' ? 'pooler_output' : 'text_embeds', outputs.pooled)
  return component.finish()
}

/** The attention bias of all layers, with an input `attention_mask`: it masks later tokens and padding. */
function maskedBias(component: ComponentBuilder, { batch, sequenceLength }: ClipTextShape): ValueInfo {
  const mask = component.input('attention_mask', 'float32', [batch, sequenceLength])
  return component.stage('attention_mask', { mask }, (graph, inputs) => ({
    bias: causalPaddingBias(graph, inputs.mask),
  })).bias
}

/** CLIPEncoderLayer: pre-norm causal self-attention and MLP on the float32 residual stream [batch · tokens, width]. */
function encoderLayer(
  graph: GraphBuilder,
  hidden: ValueInfo,
  bias: () => ValueInfo,
  clip: ClipTextConfig,
  shape: ClipTextShape,
): ValueInfo {
  const { batch, sequenceLength } = shape
  const tokens = (x: ValueInfo) => reshape(graph, x, [batch, sequenceLength, clip.width])
  const normed = toCompute(graph, layerNorm(graph, hidden, 'layer_norm1', clip.epsilon))
  const query = tokens(linear(graph, normed, 'self_attn.q_proj', clip.width))
  const key = tokens(linear(graph, normed, 'self_attn.k_proj', clip.width))
  const value = tokens(linear(graph, normed, 'self_attn.v_proj', clip.width))
  const attended = multiHeadAttention(graph, { query, key, value, bias: bias() }, clip.heads)
  const attention = linear(graph, reshape(graph, attended, hidden.dims), 'self_attn.out_proj', clip.width)
  const middle = addToResidual(graph, hidden, attention)
  const second = toCompute(graph, layerNorm(graph, middle, 'layer_norm2', clip.epsilon))
  const inner = linear(graph, second, 'mlp.fc1', clip.intermediate)
  return addToResidual(graph, middle, linear(graph, activate(graph, inner, clip.activation), 'mlp.fc2', clip.width))
}

function activate(graph: GraphBuilder, x: ValueInfo, activation: ClipTextConfig['activation']): ValueInfo {
  if (activation === 'quick_gelu') return quickGelu(graph, x)
  return gelu(graph, x, activation === 'gelu' ? 'none' : 'tanh')
}

/**
 * The input `pooling`, [batch, sequenceLength]: 1 at the row that transformers pools. With the legacy `eos_token_id` 2, this is the first
 * row with the highest id. Otherwise it is the first row whose id is `eos_token_id`, or row 0 if there is none (the argmax of zeros).
 */
function poolingOf(
  { endOfText }: ClipTextConfig,
  inputIds: ArrayLike<number>,
  sequenceLength: number,
): Float32Array<ArrayBuffer> {
  if (inputIds.length === 0 || inputIds.length % sequenceLength !== 0) {
    const message = `${inputIds.length} token ids cannot be split into sequences of ${sequenceLength}`
    throw new InputError('invalid-shape', message, { key: 'inputIds', value: inputIds.length, sequenceLength })
  }
  const pooling = new Float32Array(inputIds.length)
  for (let begin = 0; begin < inputIds.length; begin += sequenceLength) {
    const ids = Array.from({ length: sequenceLength }, (_, index) => inputIds[begin + index] ?? 0)
    const row = endOfText === 2 ? ids.indexOf(ids.reduce((a, b) => Math.max(a, b))) : Math.max(ids.indexOf(endOfText), 0)
    pooling[begin + row] = 1
  }
  return pooling
}

const imageHalf = /^(vision_model\.|visual_projection\.|logit_scale$)/

const unused: WeightNames['unused'] = [
  [/^(text_model\.)?embeddings\.token_embedding\.weight$/, embeddingOnHost],
  [/^(text_model\.)?embeddings\.position_ids$/, 'a constant that older releases of transformers saved'],
  [imageHalf, 'the image half of a CLIPModel'],
]

function define(
  className: ClipTextClass,
  within: readonly string[],
  unused: WeightNames['unused'],
): TextEncoderDefinition<ClipTextConfig> {
  const facts = {
    className,
    library: 'transformers',
    role: 'text-encoder',
    weights: {
      ...currentNames,
      // transformers 5 saves CLIPTextModel without the prefix.
      aliases: (name: string) => (name.startsWith('text_model.') ? [name.slice('text_model.'.length)] : []),
      unused,
      skipped: { patterns: [imageHalf] },
    },
    quantizable: true,
    sensitive: { kept: /^text_projection\./ },
    residual: 'float32',
    within,
  } as const
  return {
    ...facts,
    fromConfig: (given) => {
      const config = readConfig(className, given)
      const { vocabulary, width, layers, positions } = config
      const embedding = 'embeddings.token_embedding.weight'
      return {
        ...facts,
        config,
        ignoredKeys: config.ignoredKeys,
        unusedValues: config.unusedValues,
        smallest: { height: 1, width: 1 },
        shapes: () => ({ inputs_embeds: [1, positions, width] }),
        write: ({ inputs_embeds: [batch = 0, sequenceLength = 0] = [] }, options, variant = {}) =>
          writeGraph(config, { batch, sequenceLength }, options, variant),
        upcast: false,
        tokenEmbedding: { tensors: [`text_model.${embedding}`, embedding], rows: vocabulary, width },
        layers,
        pooledOutput: className === 'CLIPTextModel' ? null : 'text_embeds',
        pooledWidth: className === 'CLIPTextModel' ? null : config.projection,
        hostInputs: (inputIds, sequenceLength) => ({
          pooling: {
            dims: [inputIds.length / sequenceLength, sequenceLength],
            data: poolingOf(config, inputIds, sequenceLength),
          },
        }),
      }
    },
  }
}

/** The text encoder of Stable Diffusion 1.x and 2.x, and the first one of SDXL and FLUX.1. */
export const CLIPTextModel = define(
  'CLIPTextModel',
  ['CLIPModel', 'CLIPTextModelWithProjection'],
  [...unused, [/^text_projection\.weight$/, 'CLIPTextModel has no projection']],
)

/** The second text encoder of SDXL, and both CLIP encoders of Stable Diffusion 3: pooled embeddings are projected. */
export const CLIPTextModelWithProjection = define('CLIPTextModelWithProjection', ['CLIPModel'], unused)
