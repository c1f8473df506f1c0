/**
 * T5EncoderModel of transformers: T5 1.0 and 1.1 (gated GELU). The graph begins at the token embeddings, whose rows the host reads.
 *
 * T5's hidden states leave float16's range. In float16 the residual stream, its norms and the last product of the feed-forward (`wo`)
 * are in float32, as in transformers (`_keep_in_fp32_modules`), and nothing is clamped.
 */

import type { Config } from '../../checkpoint/types.js'
import { ComponentBuilder } from '../../onnx/component-builder.js'
import { int32s } from '../../onnx/constants.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, gelu, mul, relu, silu } from '../../onnx/ops-math.js'
import { multiHeadAttention, rmsNormalization } from '../../onnx/ops-network.js'
import { cast, dimension, gather, reshape, transpose } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { ConfigReader } from '../config-reader.js'
import { paddingBias } from '../layers/attention-bias.js'
import { addToResidual, linear, toCompute } from '../layers/layers.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { embeddingOnHost } from '../layers/token-embedding.js'
import { currentNames, defaultMaxSequenceLength, type GraphVariant, type TextEncoderDefinition } from '../types.js'
import { hiddenStateIndex, numbered } from './encoder-variants.js'

interface T5Shape {
  readonly batch: number
  readonly sequenceLength: number
}

interface T5Config {
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Values of the class's keys that have no effect here. */
  readonly unusedValues: Config
  readonly vocabulary: number
  readonly width: number
  readonly headSize: number
  readonly heads: number
  readonly intermediate: number
  readonly layers: number
  readonly buckets: number
  readonly maxDistance: number
  readonly epsilon: number
  readonly activation: Activation
  readonly gated: boolean
}

/** The activations that Aquatint writes, by their names in transformers. */
const activations = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  silu: 'silu',
  swish: 'silu',
} as const

type Activation = (typeof activations)[keyof typeof activations]

/**
 * The feed-forward's activation, and whether it is gated. `feed_forward_proj` names both (`gated-gelu` means `gelu_new`, as in configs
 * written before transformers 4.18); `dense_act_fn` and `is_gated_act` override it where a config has them.
 */
function readFeedForward(reader: ConfigReader): Pick<T5Config, 'activation' | 'gated'> {
  const names = Object.keys(activations) as (keyof typeof activations)[]
  const proj = reader.oneOf('feed_forward_proj', 'relu', [...names, ...names.map((name) => `gated-${name}` as const)])
  const gated = proj.startsWith('gated-')
  const named = proj === 'gated-gelu' ? 'gelu_new' : names.find((name) => proj === name || proj === `gated-${name}`)
  const read = {
    activation: activations[reader.oneOf('dense_act_fn', named ?? 'relu', names)],
    gated: reader.boolean('is_gated_act', gated),
  }
  const isOverridden = reader.raw('dense_act_fn') !== undefined && reader.raw('is_gated_act') !== undefined
  if (isOverridden && (read.gated !== gated || read.activation !== activations[named ?? 'relu']))
    reader.unused('feed_forward_proj', null)
  return read
}

function readConfig(config: Config): T5Config {
  const reader = new ConfigReader('T5EncoderModel', config)
  const result: Omit<T5Config, 'ignoredKeys' | 'unusedValues'> = {
    vocabulary: reader.integer('vocab_size', 32128, { min: 1, max: 2 ** 24 }),
    width: reader.integer('d_model', 512, { min: 1, max: 32768 }),
    headSize: reader.integer('d_kv', 64, { min: 1, max: 1024 }),
    heads: reader.integer('num_heads', 8, { min: 1, max: 1024 }),
    intermediate: reader.integer('d_ff', 2048, { min: 1, max: 131072 }),
    layers: reader.integer('num_layers', 6, { min: 1, max: 128 }),
    buckets: reader.integer('relative_attention_num_buckets', 32, { min: 4, max: 1024 }),
    maxDistance: reader.integer('relative_attention_max_distance', 128, { min: 2, max: 65536 }),
    epsilon: reader.number('layer_norm_epsilon', 1e-6, { min: 0, max: 1 }),
    ...readFeedForward(reader),
  }
  if (result.maxDistance <= result.buckets / 4)
    throw reader.invalid(
      'relative_attention_max_distance',
      `more than a quarter of relative_attention_num_buckets, ${result.buckets}`,
    )
  reader.require('is_decoder', false)
  // Keys for the decoder, for training, or for generating text.
  reader.unused('num_decoder_layers', result.layers)
  const flags = ['is_encoder_decoder', 'tie_word_embeddings', 'scale_decoder_outputs', 'use_cache', 'output_past', 'return_dict']
  for (const key of flags) reader.unused(key, true)
  reader.unused('dropout_rate', 0.1)
  reader.unused('classifier_dropout', 0)
  reader.unused('initializer_factor', 1)
  reader.unused('n_positions', 512)
  reader.unusedTokens('pad_token_id', 'eos_token_id', 'bos_token_id', 'decoder_start_token_id')
  // Tasks that T5 was trained for, which the configs of its first release list.
  reader.neutral('task_specific_params')
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** @throws InputError */
function writeGraph(t5: T5Config, shape: T5Shape, options: WriteOptions, variant: GraphVariant): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, sequenceLength: shapeLimits.encodedTokens })
  const chosen = (variant.hiddenStates ?? []).map((state) => hiddenStateIndex('T5EncoderModel', t5.layers, state))
  const { batch, sequenceLength } = shape
  const component = new ComponentBuilder('T5EncoderModel', options)
  const embeds = component.input('inputs_embeds', 'float32', [batch, sequenceLength, t5.width])
  const first = 'encoder.block.0.layer.0.SelfAttention'
  const position = component.stage(
    `${first}.relative_attention_bias`,
    {},
    (graph) => ({ bias: positionBias(graph, t5, sequenceLength) }),
    first,
  )
  const bias = variant.attentionMask === true ? maskedBias(component, position.bias, shape) : position.bias

  let hidden = embeds
  const states = [hidden]
  for (let index = 0; index < t5.layers; index++) {
    const stage = component.stage(`encoder.block.${index}`, { hidden, bias }, (graph, inputs) => ({
      hidden: block(graph, inputs.hidden, inputs.bias, t5),
    }))
    hidden = stage.hidden
    states.push(hidden)
  }
  const { last } = component.stage(
    'encoder.final_layer_norm',
    { hidden },
    (graph, inputs) => ({ last: norm(graph, inputs.hidden, 'final_layer_norm', t5) }),
    'encoder',
  )
  component.output('last_hidden_state', last)
  for (const [place, index] of chosen.entries()) {
    const value = index === t5.layers ? last : (states[index] ?? hidden)
    const name = numbered('hidden_state', place)
    // The output needs a stage of its own, because the value may be an input of the graph, or an output already.
    const { state } = component.stage(name, { value }, (graph, inputs) => ({ state: reshape(graph, inputs.value, value.dims) }))
    component.output(name, state)
  }
  return component.finish()
}

/** The attention bias of all blocks, with an input `attention_mask`: the bias of the positions, plus one that masks padding. */
function maskedBias(component: ComponentBuilder, position: ValueInfo, { batch, sequenceLength }: T5Shape): ValueInfo {
  const mask = component.input('attention_mask', 'float32', [batch, sequenceLength])
  return component.stage('attention_mask', { mask, position }, (graph, inputs) => ({
    bias: add(graph, inputs.position, paddingBias(graph, inputs.mask)),
  })).bias
}

/** T5Block: self-attention and feed-forward on the float32 residual stream [batch, tokens, width]. */
function block(graph: GraphBuilder, residual: ValueInfo, bias: ValueInfo, t5: T5Config): ValueInfo {
  const middle = graph.scoped('layer.0', () => selfAttention(graph, residual, bias, t5))
  return graph.scoped('layer.1', () => feedForward(graph, middle, t5))
}

/** Attention without scaling, with relative position bias. */
function selfAttention(graph: GraphBuilder, residual: ValueInfo, bias: ValueInfo, t5: T5Config): ValueInfo {
  const [batch, tokens] = [dimension(residual, 0), dimension(residual, 1)]
  const inner = t5.heads * t5.headSize
  const rows = toCompute(graph, reshape(graph, norm(graph, residual, 'layer_norm', t5), [batch * tokens, t5.width]))
  const project = (name: string) =>
    reshape(graph, linear(graph, rows, `SelfAttention.${name}`, inner, { bias: false }), [batch, tokens, inner])
  const operands = { query: project('q'), key: project('k'), value: project('v'), bias }
  const attended = reshape(graph, multiHeadAttention(graph, operands, t5.heads, 1), [batch * tokens, inner])
  const output = linear(graph, attended, 'SelfAttention.o', t5.width, { bias: false })
  return addToResidual(graph, residual, reshape(graph, output, residual.dims))
}

function feedForward(graph: GraphBuilder, residual: ValueInfo, t5: T5Config): ValueInfo {
  const [batch, tokens] = [dimension(residual, 0), dimension(residual, 1)]
  const rows = toCompute(graph, reshape(graph, norm(graph, residual, 'layer_norm', t5), [batch * tokens, t5.width]))
  const project = (name: string) =>
    cast(graph, linear(graph, rows, `DenseReluDense.${name}`, t5.intermediate, { bias: false }), 'float32')
  const inner = t5.gated
    ? mul(graph, activate(graph, project('wi_0'), t5.activation), project('wi_1'))
    : activate(graph, project('wi'), t5.activation)
  const output = linear(graph, inner, 'DenseReluDense.wo', t5.width, { bias: false })
  return addToResidual(graph, residual, reshape(graph, output, residual.dims))
}

function activate(graph: GraphBuilder, x: ValueInfo, activation: Activation): ValueInfo {
  if (activation === 'relu') return relu(graph, x)
  return activation === 'silu' ? silu(graph, x) : gelu(graph, x, activation === 'gelu' ? 'none' : 'tanh')
}

/** T5LayerNorm, in float32. */
function norm(graph: GraphBuilder, x: ValueInfo, name: string, t5: T5Config): ValueInfo {
  return rmsNormalization(graph, x, cast(graph, graph.weight(`${name}.weight`, [t5.width]), 'float32'), t5.epsilon)
}

/** [1, heads, tokens, tokens]: for each pair of tokens the bias of their distance's bucket. All blocks use the table of the first block. */
function positionBias(graph: GraphBuilder, t5: T5Config, tokens: number): ValueInfo {
  const buckets = Array.from({ length: tokens * tokens }, (_, index) =>
    relativePositionBucket((index % tokens) - Math.floor(index / tokens), t5.buckets, t5.maxDistance),
  )
  const table = graph.weight('relative_attention_bias.weight', [t5.buckets, t5.heads])
  const rows = gather(graph, table, int32s(graph, buckets, [tokens * tokens]))
  return reshape(graph, transpose(graph, rows, [1, 0]), [1, t5.heads, tokens, tokens])
}

/** T5Attention's `_relative_position_bucket`, both directions: exact for near tokens, logarithmic for far ones. */
function relativePositionBucket(distance: number, buckets: number, maxDistance: number): number {
  const side = Math.floor(buckets / 2)
  const offset = distance > 0 ? side : 0
  const magnitude = Math.abs(distance)
  const exact = Math.floor(side / 2)
  if (magnitude < exact) return offset + magnitude
  // torch computes this in float32: at bucket edges the rounding decides.
  const ratio = Math.fround(Math.fround(Math.log(Math.fround(magnitude / exact))) / Math.fround(Math.log(maxDistance / exact)))
  return offset + Math.min(exact + Math.trunc(Math.fround(ratio * (side - exact))), side - 1)
}

const decoder = /^(decoder\.|lm_head\.)/

const facts = {
  className: 'T5EncoderModel',
  library: 'transformers',
  role: 'text-encoder',
  weights: {
    ...currentNames,
    unused: [
      [/^(shared|encoder\.embed_tokens)\.weight$/, embeddingOnHost],
      [decoder, 'the decoder is not written'],
    ],
    skipped: { patterns: [decoder] },
  },
  quantizable: true,
  residual: 'float32',
  within: ['T5ForConditionalGeneration', 'T5Model', 'T5WithLMHeadModel'],
} as const

/** The third text encoder of Stable Diffusion 3, the second one of FLUX.1, and that of Chroma. */
export const T5EncoderModel: TextEncoderDefinition<T5Config> = {
  ...facts,
  fromConfig: (given) => {
    const config = readConfig(given)
    const { vocabulary, width, layers } = config
    return {
      ...facts,
      config,
      ignoredKeys: config.ignoredKeys,
      unusedValues: config.unusedValues,
      smallest: { height: 1, width: 1 },
      shapes: ({ maxSequenceLength = defaultMaxSequenceLength }) => ({ inputs_embeds: [1, maxSequenceLength, width] }),
      write: ({ inputs_embeds: [batch = 0, sequenceLength = 0] = [] }, options, variant = {}) =>
        writeGraph(config, { batch, sequenceLength }, options, variant),
      upcast: false,
      tokenEmbedding: { tensors: ['shared.weight', 'encoder.embed_tokens.weight'], rows: vocabulary, width },
      layers,
      pooledOutput: null,
      pooledWidth: null,
      hostInputs: () => ({}),
    }
  },
}
