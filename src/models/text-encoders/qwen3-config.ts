/** The config of Qwen3's language models, Qwen3Config of transformers. */

import type { Config } from '../../checkpoint/types.js'
import { ConfigReader } from '../config-reader.js'
import type { GateActivation } from '../layers/gated-feed-forward.js'
import { shapeLimits } from '../layers/shape.js'

/** The values of a Qwen3 config, checked. */
export interface Qwen3Config {
  readonly className: 'Qwen3Model' | 'Qwen3ForCausalLM'
  /** Keys of the config that the class does not have. */
  readonly ignoredKeys: Config
  /** Values of the class's keys that have no effect here. */
  readonly unusedValues: Config
  readonly vocabulary: number
  readonly width: number
  readonly intermediate: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values. */
  readonly keyHeads: number
  readonly headSize: number
  readonly activation: GateActivation
  readonly epsilon: number
  readonly attentionBias: boolean
  /** The base of the rotary embedding's frequencies. */
  readonly theta: number
}

/** The activations that Aquatint writes, by their names in transformers. */
const activations = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
} as const

/**
 * Reads a config.json. `taps`: the `hidden_states` that a pipeline takes, as indices.
 * @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config`
 */
export function readQwen3Config(className: Qwen3Config['className'], config: Config, taps: readonly number[]): Qwen3Config {
  const reader = new ConfigReader(className, config)
  const layers = reader.integer('num_hidden_layers', 32, { min: 1, max: 256 })
  if (taps.some((index) => index > layers || index < -layers - 1))
    throw reader.invalid('num_hidden_layers', `at least ${Math.max(...taps.map((index) => (index < 0 ? -index - 1 : index)))}`)
  const heads = reader.integer('num_attention_heads', 32, { min: 1, max: 1024 })
  const keyHeads =
    reader.raw('num_key_value_heads') === null ? heads : reader.integer('num_key_value_heads', 32, { min: 1, max: 1024 })
  if (heads % keyHeads !== 0) throw reader.invalid('num_key_value_heads', `a divisor of num_attention_heads, ${heads}`)
  const headSize = reader.integer('head_dim', 128, { min: 2, max: 1024 })
  if (headSize % 2 !== 0) throw reader.invalid('head_dim', 'an even number')
  checkWindow(reader, layers)
  const names = Object.keys(activations) as (keyof typeof activations)[]
  const result: Omit<Qwen3Config, 'ignoredKeys' | 'unusedValues'> = {
    className,
    vocabulary: reader.integer('vocab_size', 151_936, { min: 1, max: 2 ** 24 }),
    width: reader.integer('hidden_size', 4096, { min: 1, max: 32_768 }),
    intermediate: reader.integer('intermediate_size', 22_016, { min: 1, max: 131_072 }),
    layers,
    heads,
    keyHeads,
    headSize,
    activation: activations[reader.oneOf('hidden_act', 'silu', names)],
    epsilon: reader.number('rms_norm_eps', 1e-6, { min: 0, max: 1 }),
    attentionBias: reader.boolean('attention_bias', false),
    theta: readTheta(reader),
  }
  // Keys for `lm_head`, for training, or for generating text. Positions beyond `max_position_embeddings` are embedded like all others.
  reader.neutral('max_position_embeddings')
  for (const key of ['tie_word_embeddings', 'use_cache', 'return_dict']) reader.unused(key, true)
  reader.unused('attention_dropout', 0)
  reader.unused('initializer_range', 0.02)
  reader.unusedTokens('pad_token_id', 'eos_token_id', 'bos_token_id')
  reader.unused('partial_rotary_factor', 1)
  return { ...result, ignoredKeys: reader.finish(), unusedValues: reader.unusedValues }
}

/** The base of the rotary frequencies. transformers before release 5 writes `rope_theta` and `rope_scaling`, release 5 `rope_parameters`. */
function readTheta(reader: ConfigReader): number {
  const bounds = { min: 1e-3, max: 1e12 }
  const theta = reader.number('rope_theta', 10_000, bounds)
  const [scaling, parameters] = [reader.boolean('rope_scaling', false), reader.boolean('rope_parameters', false)]
  const key = scaling ? 'rope_scaling' : 'rope_parameters'
  const given = reader.raw(key)
  if (!scaling && !parameters) return theta
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw reader.invalid(key, 'an object')
  const { rope_type: type, type: formerType, rope_theta: own = theta } = given as Readonly<Record<string, unknown>>
  if ((type ?? formerType ?? 'default') !== 'default') throw reader.unsupported(key, ['default'])
  if (typeof own !== 'number' || !(own >= bounds.min && own <= bounds.max)) throw reader.invalid(key, 'a number rope_theta')
  return own
}

const isType = (type: unknown) => type === 'full_attention' || type === 'sliding_attention'

/** transformers' default of `sliding_window`, for a config without this key. */
const defaultWindow = 4096

/** Refuses layers that see only a window of tokens, where a text can be longer than the window. */
function checkWindow(reader: ConfigReader, layers: number): void {
  const isUsed = reader.boolean('use_sliding_window', false)
  const first = reader.integer('max_window_layers', 28, { min: -1_000_000, max: 1_000_000 })
  const types = reader.raw('layer_types') ?? null
  if (types !== null && !(Array.isArray(types) && types.length === layers && types.every(isType)))
    throw reader.invalid('layer_types', `a list of ${layers} of full_attention and sliding_attention`)
  const slides = types === null ? isUsed && first < layers : types.includes('sliding_attention')
  // transformers ignores `sliding_window` unless `use_sliding_window` is true.
  const window = reader.raw('sliding_window')
  if (types !== null && slides && (!isUsed || window === null))
    throw reader.invalid('layer_types', 'full_attention, because the config has no sliding window')
  if (!slides) reader.unused('sliding_window', defaultWindow)
  if (!slides || window === null) return
  const size = reader.integer('sliding_window', defaultWindow, { min: 1, max: 2 ** 24 })
  if (size < shapeLimits.encodedTokens) throw reader.unsupported('sliding_window', [null])
}
