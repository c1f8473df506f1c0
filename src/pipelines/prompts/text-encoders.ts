/**
 * Text encoders with their tokenizers: from a text to the hidden states and the pooled embedding that a denoiser takes. One class serves all
 * text encoders; what differs between them is in the definitions of the networks and tokenizers.
 */

import { decodeFloats, isFloatDType } from '../../checkpoint/element-types.js'
import type { TensorEntry, WeightTable } from '../../checkpoint/types.js'
import { CheckpointError, InputError } from '../../errors.js'
import type { TokenEmbedding } from '../../models/layers/token-embedding.js'
import { numbered } from '../../models/text-encoders/encoder-variants.js'
import type { HiddenState, HostInput, TextEncoderModel } from '../../models/types.js'
import type { ChatOptions, EncodedText, Tokenizer } from '../../tokenizers/types.js'
import { hasRole, type Network } from '../bind-network.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import type { DeviceHosts } from '../execution/device-hosts.js'
import { failuresOf } from '../execution/recovery.js'
import type { HostTensor } from '../../runtime/types.js'
import type { LoadedParts } from '../loading/read-parts.js'
import type { Run } from '../run.js'
import type { EncodeCall } from './prompt-embeds.js'
import { AddedWords } from '../added-words.js'
import { float32Tensor } from '../tensors.js'
import { encodeWeighted } from './weighted-text.js'
import type { PromptWeighting } from '../types.js'
import { withoutWeights } from './weighted-prompt.js'
import { chunkTokens } from './weighted-tokens.js'

/** How a text is encoded. */
export interface EncodeTextOptions {
  /** The output to take: the last hidden state, or the hidden states that `hiddenStates` chooses. Default `hidden_states`. */
  readonly output?: 'last_hidden_state' | 'hidden_states' | undefined
  /** Hidden states to take. Default: the class's own choice. */
  readonly hiddenStates?: readonly HiddenState[] | undefined
  /** The output with the pooled embedding. Default: the class's `pooledOutput`. */
  readonly pooledOutput?: string | undefined
  /** The number of tokens, for tokenizers without a fixed length. */
  readonly maxSequenceLength?: number | undefined
  /** The text is padded to a multiple of this, and not to `maxSequenceLength` tokens. */
  readonly lengthMultiple?: number | undefined
}

/** An encoded text. */
export interface TextEncoding {
  /** The first of `hiddenStates`. */
  readonly hidden: Value
  /** Each [1, tokens, width], in the requested order. */
  readonly hiddenStates: readonly Value[]
  /** The pooled embedding, [1, projection] for `text_embeds` or [1, width] for `pooler_output`. Null without a `pooledOutput`. */
  readonly pooled: Value | null
  /** The number of tokens of the text, and the index of the first one (`first`). The other tokens are padding. */
  readonly tokens: number
  readonly first: number
}

/** The outputs of one run of a text encoder. */
type EncodedIds = Pick<TextEncoding, 'hiddenStates' | 'pooled'>

/** A text encoder of a pipeline with its tokenizer. */
export class LoadedTextEncoder {
  readonly #network: Network<TextEncoderModel>
  readonly #words: AddedWords
  readonly #host: ComponentHost

  constructor(network: Network<TextEncoderModel>, words: AddedWords, host: ComponentHost) {
    this.#network = network
    this.#words = words
    this.#host = host
  }

  get #tokenizer(): Tokenizer {
    return this.#words.tokenizer
  }

  /** The number of the network's layers: `clip_skip` must be less. */
  get layers(): number {
    return this.#network.model.layers
  }

  /** Applies the tokenizer's chat template to `prompt` as the user's message. @throws UnsupportedError `tokenizer-model` */
  chat(prompt: string, options: ChatOptions): string {
    const { chat } = this.#tokenizer
    if (chat === undefined) throw new TypeError('The tokenizer of this text encoder has no chat template')
    return chat(prompt, options)
  }

  /** How many chunks a weighted text takes; always 1 with `compel`, or if this encoder takes no weights. */
  chunks(text: string, weighting: PromptWeighting): number {
    const { fixedLength } = this.#tokenizer
    return fixedLength === null || weighting === 'compel' ? 1 : chunkTokens(text, this.#words, fixedLength).length
  }

  /**
   * Encodes one text. A text that is too long is truncated, with a warning, as in diffusers. With `weighting` in `call`, the text may
   * have weights.
   * @throws CheckpointError if the token embedding does not match; and the errors of running the network
   */
  async encode(given: string, call: EncodeCall, options: EncodeTextOptions = {}): Promise<TextEncoding> {
    const { run, weighting } = call
    const length = this.#tokenizer.fixedLength
    if (weighting !== undefined && length !== null) {
      const encode = (ids: readonly number[], mask?: Float32Array<ArrayBuffer>) => this.#run(ids, mask, call, options)
      return encodeWeighted(given, { words: this.#words, length, encode, weighting, run })
    }
    const plain = weighting === undefined ? given : withoutWeights(given, weighting.rule)
    const encoded = this.#tokenize(this.#words.convert(plain), options, run)
    const { inputIds, tokens, first } = encoded
    const { masksPadding = false } = this.#network.model
    const mask = masksPadding ? new Float32Array(inputIds.length).fill(1, first, first + tokens) : undefined
    const { hiddenStates, pooled } = await this.#run(inputIds, mask, call, options)
    const [hidden] = hiddenStates
    if (hidden === undefined) throw new TypeError(`${this.#network.model.className} has no hidden state.`)
    return { hidden, hiddenStates, pooled, tokens, first }
  }

  /**
   * Runs the network on ids that are already padded. `mask`: 1 for each id that the other ids may attend to; absent: all ids.
   */
  async #run(
    inputIds: readonly number[],
    mask: Float32Array<ArrayBuffer> | undefined,
    { next, keep, run }: EncodeCall,
    { output, hiddenStates, pooledOutput: named }: EncodeTextOptions,
  ): Promise<EncodedIds> {
    const { model } = this.#network
    const inputs = await this.#inputs(inputIds, mask, run.signal)
    const states =
      output === 'last_hidden_state'
        ? ['last_hidden_state']
        : Array.from({ length: hiddenStates?.length ?? model.hiddenStates ?? 1 }, (_, place) => numbered('hidden_state', place))
    const pooledName = named ?? model.pooledOutput
    const pooledOutput = pooledName === null ? [] : [pooledName]
    const variant = { hiddenStates, attentionMask: mask === undefined ? undefined : true }
    const outputs = await failuresOf({ host: this.#host, network: this.#network }, () =>
      this.#host.runFor(next, this.#network, inputs, [...states, ...pooledOutput], run, variant),
    )
    const taken = Object.values(outputs).map((value) => keep(value))
    return { hiddenStates: taken.slice(0, states.length), pooled: taken[states.length] ?? null }
  }

  /** Tokenizes a text to as many ids as the network takes. */
  #tokenize(text: string, { maxSequenceLength, lengthMultiple }: EncodeTextOptions, run: Run): EncodedText {
    const { fixedLength } = this.#tokenizer
    const most = fixedLength ?? maxSequenceLength
    if (most === undefined) throw new TypeError('A tokenizer without a fixed length needs maxSequenceLength.')
    const needed = () => Math.ceil(this.#tokenizer.encode(text).length / (lengthMultiple ?? 1)) * (lengthMultiple ?? 1)
    const length = lengthMultiple === undefined ? most : Math.min(most, needed())
    const encoded = this.#tokenizer.encodePadded(text, length)
    if (encoded.removedText !== null) {
      const reason =
        fixedLength === null
          ? `maxSequenceLength is set to ${most} tokens`
          : `the text encoder can only handle sequences up to ${length} tokens`
      run.warn('prompt-truncated', `The following part of your input was truncated because ${reason}: ${encoded.removedText}`, {
        once: true,
      })
    }
    return encoded
  }

  async #inputs(
    inputIds: readonly number[],
    mask: Float32Array<ArrayBuffer> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, HostTensor>> {
    const { model, table } = this.#network
    const { tokenEmbedding } = model
    const length = inputIds.length
    const inputs: Record<string, HostInput> = {
      inputs_embeds: {
        dims: [1, length, tokenEmbedding.width],
        data: await readTokenRows(table, tokenEmbedding, this.#words.rows, inputIds, signal),
      },
      ...model.hostInputs(inputIds, length),
      ...(mask === undefined ? {} : { attention_mask: { dims: [1, length], data: mask } }),
    }
    return Object.fromEntries(Object.entries(inputs).map(([name, { dims, data }]) => [name, float32Tensor(dims, data)]))
  }
}

/** A text encoder with its tokenizer, by the names of both components; null where the pipeline has none. */
export function textEncoderOf(
  { networks, tokenizers, words }: LoadedParts,
  hosts: DeviceHosts,
  name: string,
  tokenizerName: string,
): LoadedTextEncoder | null {
  const [network, tokenizer] = [networks.get(name), tokenizers.get(tokenizerName)]
  if (network === undefined || !hasRole(network, 'text-encoder') || tokenizer === undefined) return null
  const own = new AddedWords(tokenizer)
  words.set(name, own)
  return new LoadedTextEncoder(network, own, hosts.of(name))
}

/** Checks the option `clipSkip`. @throws InputError `clip-skip` unless it is a whole number less than the number of layers */
export function checkClipSkip(clipSkip: number | undefined, layers: number): void {
  if (clipSkip === undefined) return
  if (!Number.isInteger(clipSkip) || clipSkip < 0 || clipSkip >= layers)
    throw new InputError('clip-skip', `clipSkip is ${clipSkip}; allowed are whole numbers from 0 to ${layers - 1}.`, {
      clipSkip,
      allowed: layers - 1,
    })
}

/**
 * Reads the embeddings of `ids`: the values of a tensor [ids.length, width]. `learned`: the rows of learned words, by id; the table does
 * not have them.
 * @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch`, `token-id`
 */
async function readTokenRows(
  table: WeightTable,
  embedding: TokenEmbedding,
  learned: ReadonlyMap<number, Float32Array<ArrayBuffer>>,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  const { width, rows } = embedding
  const entry = findEmbedding(table, embedding)
  if (!isFloatDType(entry.dtype))
    throw new CheckpointError('dtype-mismatch', `The token embedding ${entry.name} holds ${entry.dtype}; expected floats.`, {
      tensor: entry.name,
      actual: entry.dtype,
    })
  const { dtype, source, begin } = entry
  const rowBytes = (entry.end - begin) / rows
  const read = new Map(
    await Promise.all(
      [...new Set(ids)].map(async (id) => {
        const own = learned.get(id)
        if (own !== undefined) return [id, own] as const
        if (!Number.isInteger(id) || id < 0 || id >= rows)
          throw new CheckpointError('token-id', `The tokenizer gave the id ${id}, but the text encoder knows ${rows} tokens.`, {
            id,
            allowed: rows,
          })
        const at = begin + id * rowBytes
        return [id, decodeFloats(await source.read({ begin: at, end: at + rowBytes }, { signal }), dtype)] as const
      }),
    ),
  )
  const result = new Float32Array(ids.length * width)
  for (const [i, id] of ids.entries()) result.set(read.get(id) ?? [], i * width)
  return result
}

function findEmbedding(table: WeightTable, { tensors, rows, width }: TokenEmbedding): TensorEntry {
  const entry = tensors.map((name) => table.get(name)).find((found) => found !== undefined)
  if (entry === undefined)
    throw new CheckpointError('tensor-missing', `The text encoder has no token embedding ${tensors.join(' or ')}.`, {
      tensor: tensors[0] ?? '',
    })
  if (entry.shape.length !== 2 || entry.shape[0] !== rows || entry.shape[1] !== width)
    throw new CheckpointError(
      'shape-mismatch',
      `The token embedding ${entry.name} has shape [${entry.shape.join(', ')}]; its config requires [${rows}, ${width}].`,
      { tensor: entry.name, actual: entry.shape, expected: [rows, width] },
    )
  return entry
}
