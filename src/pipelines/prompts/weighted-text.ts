/**
 * Runs a text encoder on a weighted prompt and applies the weights to its hidden states, in host memory: they are small, and the rules need
 * means and blends of them.
 */

import { InputError } from '../../errors.js'
import type { Tokenizer } from '../../tokenizers/types.js'
import type { Value } from '../execution/component-host.js'
import type { Run } from '../run.js'
import { float32Tensor } from '../tensors.js'
import type { PromptWeighting } from '../types.js'
import { chunkTokens, compelTokens, convertLowered, emptyChunk, type TokenChunk, type TokenSource } from './weighted-tokens.js'

/** The most chunks of a prompt: each is a run of the text encoder, and makes every step of the denoiser slower. */
const maxChunks = 32

interface Encoded {
  readonly hiddenStates: readonly Value[]
  readonly pooled: Value | null
}

/** The arguments of {@link encodeWeighted} besides the text. */
export interface WeightedCall {
  readonly words: TokenSource & { readonly tokenizer: Tokenizer & { decode?: (ids: readonly number[]) => string } }
  /** The number of ids that the text encoder takes. */
  readonly length: number
  /** `mask`: 1 for each id that the other ids may attend to; absent: all ids. */
  readonly encode: (ids: readonly number[], mask?: Float32Array<ArrayBuffer>) => Promise<Encoded>
  readonly weighting: { readonly rule: PromptWeighting; readonly chunks: number }
  readonly run: Run
}

/** Hidden states [1, chunks · length, width] of a weighted text, and the pooled embedding of its first chunk. */
export async function encodeWeighted(text: string, call: WeightedCall) {
  const { hiddenStates, pooled } =
    call.weighting.rule === 'a1111' ? await encodeChunks(text, call) : await encodeBlend(text, call)
  const [hidden] = hiddenStates
  if (hidden === undefined) throw new TypeError('The text encoder has no hidden state.')
  return { hidden, hiddenStates, pooled, tokens: hidden.dims[1] ?? 0, first: 0 }
}

/** @throws InputError `prompt` for more than 32 chunks */
export function checkChunks(chunks: number): void {
  if (chunks > maxChunks)
    throw new InputError('prompt', `The prompt takes ${chunks} chunks of tokens; at most ${maxChunks} are allowed. Shorten it.`, {
      chunks,
      allowed: maxChunks,
    })
}

/**
 * AUTOMATIC1111's rule: a token's hidden state is multiplied by its weight, then the whole chunk by one factor, so that the chunk's mean
 * stays the same. A text shorter than others in the call is filled up with chunks without text.
 */
async function encodeChunks(text: string, { words, length, encode, weighting }: WeightedCall): Promise<Encoded> {
  const own = chunkTokens(text, words, length)
  const empty = Array<TokenChunk>(Math.max(weighting.chunks - own.length, 0)).fill(emptyChunk(words, length))
  const chunks: { readonly states: readonly Float32Array[]; readonly width: number; readonly pooled: Value | null }[] = []
  for (const { inputIds, weights } of [...own, ...empty]) {
    const { hiddenStates, pooled } = await encode(inputIds)
    const states = await Promise.all(hiddenStates.map(async (state) => keepingMean(await read(state), weights)))
    chunks.push({ states, width: hiddenStates[0]?.dims[2] ?? 0, pooled })
  }
  const [first] = chunks
  const hiddenStates = (first?.states ?? []).map((_, place) => {
    const { width = 0 } = first ?? {}
    const data = new Float32Array(chunks.length * length * width)
    for (const [index, { states }] of chunks.entries()) data.set(states[place] ?? [], index * length * width)
    return float32Tensor([1, chunks.length * length, width], data)
  })
  return { hiddenStates, pooled: first?.pooled ?? null }
}

function keepingMean(state: Float32Array, weights: readonly number[]): Float32Array {
  if (weights.every((weight) => weight === 1)) return state
  const width = state.length / weights.length
  const weighted = state.map((value, i) => value * (weights[Math.floor(i / width)] ?? 1))
  const factor = sum(state) / sum(weighted)
  return Number.isFinite(factor) ? weighted.map((value) => value * factor) : weighted
}

/**
 * compel's rule: the difference between a token's hidden state and that of the empty prompt is multiplied by the token's weight. For each stretch of
 * tokens with a weight below 1, the text is encoded once more with the stretch masked. The results are blended: the smaller the weight, the larger
 * the share of the masked result.
 */
async function encodeBlend(text: string, { words, length, encode, run }: WeightedCall): Promise<Encoded> {
  const { tokenizer } = words
  const { chunk, below, removed } = compelTokens(text, words, length)
  if (removed.length > 0)
    run.warn(
      'prompt-truncated',
      `The following part of your input was truncated because the text encoder can only handle sequences up to ${length} tokens: ${tokenizer.decode?.(removed) ?? ''}`,
      { once: true },
    )
  const { inputIds, weights } = chunk
  const whole = await encode(inputIds)
  // compel takes the pooled embedding of the text as it was written, with its signs.
  const written = tokenizer.encodePadded(convertLowered(text, words), length).inputIds
  const isPlain = whole.pooled === null || written.every((id, i) => id === inputIds[i])
  const base = isPlain ? whole : { ...whole, pooled: (await encode(written)).pooled }
  if (weights.every((weight) => weight === 1)) return base
  const { hiddenStates: emptyStates } = await encode(emptyChunk(words, length).inputIds)
  const passes = [{ encoded: base, share: 1 }]
  for (const { begin, end, weight } of below) {
    const mask = new Float32Array(length).fill(1).fill(0, begin, end)
    // The tangent is infinite at weight 0, so the weight is at least 1e-5, as in compel.
    passes.push({ encoded: await encode(inputIds, mask), share: Math.tan(((1 - Math.max(weight, 1e-5)) * Math.PI) / 2) })
  }
  const total = passes.reduce((all, { share }) => all + share, 0)
  const hiddenStates = await Promise.all(
    base.hiddenStates.map(async (state, place) => {
      const empty = await read(emptyStates[place] ?? state)
      const width = state.dims[2] ?? 1
      const blend = new Float64Array(empty.length)
      for (const { encoded, share } of passes) {
        const values = await read(encoded.hiddenStates[place] ?? state)
        for (const [i, value] of values.entries()) {
          const weight = weights[Math.floor(i / width)] ?? 1
          const from = empty[i] ?? 0
          blend[i] = (blend[i] ?? 0) + ((from + (value - from) * weight) * share) / total
        }
      }
      return float32Tensor(state.dims, Float32Array.from(blend))
    }),
  )
  return { hiddenStates, pooled: base.pooled }
}

async function read(value: Value): Promise<Float32Array> {
  if ('read' in value) return value.read()
  if (value.data instanceof Float32Array) return value.data
  throw new TypeError(`A hidden state is ${value.type}; expected float32.`)
}

function sum(values: Float32Array): number {
  return values.reduce((all, value) => all + value, 0)
}
