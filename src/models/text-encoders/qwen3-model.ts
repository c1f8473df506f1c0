/**
 * Qwen3Model and Qwen3ForCausalLM of transformers as text encoders: a causal language model whose hidden states are prompt embeddings. The graph begins at the
 * token embeddings, whose rows the host reads, and ends at the last hidden state that is wanted. It has no `lm_head`.
 *
 * Qwen3 was trained in bfloat16, and some channels of its hidden states are far larger than the others. In float16 the residual stream and its norms
 * are in float32, and the feed-forward's last product is scaled by a power of two.
 */

import { ComponentBuilder } from '../../onnx/component-builder.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, scale } from '../../onnx/ops-math.js'
import { reshape } from '../../onnx/ops-shape.js'
import type { ComponentGraph, ValueInfo, WriteOptions } from '../../onnx/types.js'
import { causalBias, causalPaddingBias } from '../layers/attention-bias.js'
import { scaledGatedFeedForward } from '../layers/gated-feed-forward.js'
import { groupedQueryAttention } from '../layers/grouped-query-attention.js'
import { toCompute, toFloat32, tokenLinear } from '../layers/layers.js'
import { headNorm, rmsNorm } from '../layers/rms-norm.js'
import { rotary } from '../layers/rotary-embedding.js'
import { countedPositions, rotaryTables } from '../layers/rotary-tables.js'
import { checkShape, shapeLimits } from '../layers/shape.js'
import { embeddingOnHost } from '../layers/token-embedding.js'
import { currentNames, type GraphVariant, type HiddenState, type TextEncoderDefinition, type WeightNames } from '../types.js'
import { hiddenStateIndex, numbered } from './encoder-variants.js'
import { readQwen3Config, type Qwen3Config } from './qwen3-config.js'

/** diffusers' default of `max_sequence_length` in the pipelines with this text encoder. */
const defaultLength = 512

interface Qwen3Shape {
  readonly batch: number
  readonly sequenceLength: number
}

/** The values that all layers read. */
interface SharedValues {
  readonly bias: ValueInfo
  readonly cos: ValueInfo
  readonly sin: ValueInfo
}

/** @throws InputError `invalid-shape`, `invalid-hidden-state` */
function writeGraph(qwen: Qwen3Config, shape: Qwen3Shape, options: WriteOptions, variant: GraphVariant): ComponentGraph {
  checkShape({ ...shape }, { batch: shapeLimits.batch, sequenceLength: shapeLimits.encodedTokens })
  const chosen = (variant.hiddenStates ?? []).map((state) => hiddenStateIndex(qwen.className, qwen.layers, state))
  const written = chosen.length === 0 ? qwen.layers : Math.max(...chosen)
  const { batch, sequenceLength } = shape
  const component = new ComponentBuilder(qwen.className, options)
  const embeds = component.input('inputs_embeds', 'float32', [batch, sequenceLength, qwen.width])
  const table = [sequenceLength, qwen.headSize / 2]
  const cos = component.input('rotary_cos', 'float32', table)
  const sin = component.input('rotary_sin', 'float32', table)
  const { bias } = attentionBias(component, shape, variant)

  let hidden = embeds
  const states = [hidden]
  for (let index = 0; index < written; index++) {
    const stage = component.stage(`model.layers.${index}`, { hidden, bias, cos, sin }, (graph, inputs) => ({
      hidden: decoderLayer(graph, inputs.hidden, inputs, qwen),
    }))
    hidden = stage.hidden
    states.push(hidden)
  }
  const last = written === qwen.layers ? finalNorm(component, hidden, qwen) : undefined
  if (last !== undefined) component.output('last_hidden_state', last)
  for (const [place, index] of chosen.entries()) {
    const value = (index === qwen.layers ? last : states[index]) ?? hidden
    const name = numbered('hidden_state', place)
    // The output needs a stage of its own, because the value may be an input of the graph, or an output already.
    const { state } = component.stage(name, { value }, (graph, inputs) => ({ state: reshape(graph, inputs.value, value.dims) }))
    component.output(name, state)
  }
  return component.finish()
}

/** The attention bias that masks later tokens and, with an input `attention_mask`, padding. */
function attentionBias(
  component: ComponentBuilder,
  { batch, sequenceLength }: Qwen3Shape,
  { attentionMask = false }: GraphVariant,
): { readonly bias: ValueInfo } {
  if (!attentionMask) return component.stage('attention_bias', {}, (graph) => ({ bias: causalBias(graph, sequenceLength) }))
  const mask = component.input('attention_mask', 'float32', [batch, sequenceLength])
  return component.stage('attention_bias', { mask }, (graph, inputs) => ({ bias: causalPaddingBias(graph, inputs.mask) }))
}

function finalNorm(component: ComponentBuilder, hidden: ValueInfo, { epsilon }: Qwen3Config): ValueInfo {
  const body = (graph: GraphBuilder, inputs: { readonly hidden: ValueInfo }) => ({
    last: rmsNorm(graph, inputs.hidden, 'norm', epsilon),
  })
  return component.stage('model.norm', { hidden }, body, 'model').last
}

/** Qwen3DecoderLayer on the float32 residual stream [batch, tokens, width]. */
function decoderLayer(graph: GraphBuilder, residual: ValueInfo, shared: SharedValues, qwen: Qwen3Config): ValueInfo {
  const attending = toCompute(graph, rmsNorm(graph, residual, 'input_layernorm', qwen.epsilon))
  const middle = add(
    graph,
    residual,
    graph.scoped('self_attn', () => selfAttention(graph, attending, shared, qwen)),
  )
  const normed = toCompute(graph, rmsNorm(graph, middle, 'post_attention_layernorm', qwen.epsilon))
  return add(
    graph,
    middle,
    graph.scoped('mlp', () => feedForward(graph, normed, qwen)),
  )
}

/** Qwen3Attention. The result is float32. */
function selfAttention(graph: GraphBuilder, x: ValueInfo, { bias, cos, sin }: SharedValues, qwen: Qwen3Config): ValueInfo {
  const { heads, keyHeads, headSize, epsilon, attentionBias: hasBias } = qwen
  const project = (name: string, count: number) => tokenLinear(graph, x, name, count * headSize, { bias: hasBias })
  const turned = (name: string, count: number, norm: string) =>
    rotary(graph, headNorm(graph, project(name, count), norm, headSize, epsilon), { cos, sin }, 'halves')
  const operands = {
    query: turned('q_proj', heads, 'q_norm'),
    key: turned('k_proj', keyHeads, 'k_norm'),
    value: project('v_proj', keyHeads),
    bias,
  }
  const attended = groupedQueryAttention(graph, operands, { heads, keyHeads })
  return toFloat32(graph, tokenLinear(graph, attended, 'o_proj', qwen.width, { bias: hasBias }))
}

/** A float16 graph divides the gated unit of the feed-forward by 2 to this power, so results may be up to a million. */
const unitExponent = 4

const feedForwardNames = { gate: 'gate_proj', value: 'up_proj', out: 'down_proj' } as const

/** Qwen3MLP. The result is float32. */
function feedForward(graph: GraphBuilder, x: ValueInfo, { intermediate, activation }: Qwen3Config): ValueInfo {
  const scaled = scaledGatedFeedForward(graph, x, feedForwardNames, intermediate, activation, unitExponent)
  return x.type === 'float16' ? scale(graph, toFloat32(graph, scaled), 2 ** unitExponent) : scaled
}

const head = /^lm_head\.weight$/

const unused: WeightNames['unused'] = [
  [/^(model\.)?embed_tokens\.weight$/, embeddingOnHost],
  [head, 'the graph ends at hidden states'],
]

/**
 * The weights that no graph uses in a model with `layers` layers of which the first `written` are written: those of the other layers and of
 * the final norm.
 */
function unusedLayers(written: number, layers: number): WeightNames['unused'] {
  if (written >= layers) return []
  const numbers = Array.from({ length: layers - written }, (_, index) => written + index).join('|')
  return [[new RegExp(String.raw`^(model\.)?(layers\.(${numbers})\.|norm\.weight$)`), 'no hidden state of these layers is used']]
}

/** Indices of transformers' `hidden_states` that a pipeline class takes. Null: all layers are written. */
type Taps = readonly number[] | null

function define(className: Qwen3Config['className'], taps: Taps): TextEncoderDefinition<Qwen3Config> {
  const facts = {
    className,
    library: 'transformers',
    role: 'text-encoder',
    weights: {
      ...currentNames,
      // Qwen3Model saves its tensors without the prefix.
      aliases: (name: string) => (name.startsWith('model.') ? [name.slice('model.'.length)] : []),
      unused,
    },
    quantizable: true,
    residual: 'float32',
    within: className === 'Qwen3Model' ? ['Qwen3ForCausalLM'] : ['Qwen3Model'],
  } as const
  return {
    ...facts,
    fromConfig: (given) => {
      const config = readQwen3Config(className, given, taps ?? [])
      const { vocabulary, width, layers, headSize, theta } = config
      const states = taps?.map((index): HiddenState => ({ index, finalLayerNorm: index === -1 || index === layers }))
      const last = Math.max(...(states ?? []).map((state) => hiddenStateIndex(className, layers, state)), 0)
      const written = states === undefined ? layers : last
      const behind = unusedLayers(written, layers)
      return {
        ...facts,
        weights: {
          ...facts.weights,
          unused: [...unused, ...behind],
          skipped: { patterns: [head, ...behind.map(([pattern]) => pattern)], choice: `${written} layers` },
        },
        config,
        ignoredKeys: config.ignoredKeys,
        unusedValues: config.unusedValues,
        smallest: { height: 1, width: 1 },
        shapes: ({ maxSequenceLength = defaultLength }) => ({ inputs_embeds: [1, maxSequenceLength, width] }),
        write: ({ inputs_embeds: [batch = 0, sequenceLength = 0] = [] }, options, variant = {}) =>
          writeGraph(config, { batch, sequenceLength }, options, { ...variant, hiddenStates: variant.hiddenStates ?? states }),
        upcast: false,
        tokenEmbedding: { tensors: ['model.embed_tokens.weight', 'embed_tokens.weight'], rows: vocabulary, width },
        layers,
        hiddenStates: states?.length ?? 1,
        pooledOutput: null,
        pooledWidth: null,
        hostInputs: (_, sequenceLength) => {
          const { cos, sin } = rotaryTables(countedPositions(sequenceLength), { axes: [headSize], theta, rounded: 'all' })
          return { rotary_cos: cos, rotary_sin: sin }
        },
      }
    },
  }
}

/** The language model without its head. */
export const Qwen3Model = define('Qwen3Model', null)
/** The language model: the text encoder of FLUX.2-klein and Z-Image. */
export const Qwen3ForCausalLM = define('Qwen3ForCausalLM', null)

/**
 * Qwen3ForCausalLM and Qwen3Model for a pipeline class that takes the `hidden_states` of transformers with these indices, as
 * `hidden_state`, `hidden_state_1`, … Layers after the last of these hidden states are neither written nor loaded. Negative indices count
 * from the end.
 */
export function qwen3TextEncoders(hiddenStates: readonly number[]): readonly TextEncoderDefinition<Qwen3Config>[] {
  return [define('Qwen3ForCausalLM', hiddenStates), define('Qwen3Model', hiddenStates)]
}
