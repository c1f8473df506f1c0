/**
 * The prompts of a generation: one, several, or embeddings that the caller has made already. Here they are checked against each other, and
 * encoded one after the other.
 */

import { InputError } from '../../errors.js'
import type { DenoiserModel } from '../../models/types.js'
import { elementCount } from '../../util/element-count.js'
import { checkPromptText } from '../check-inputs.js'
import { float32Tensor } from '../tensors.js'
import type {
  GenerateOptions,
  PlainTensor,
  PromptEmbeddings,
  PromptInput,
  PromptWeighting,
  SinglePromptOptions,
} from '../types.js'
import type { PromptEncoder } from './pipeline-family.js'
import { checkChunks } from '../prompts/weighted-text.js'
import { emptyPrompt, type EncodeCall, type EncodedBatch, type EncodedPrompt, type Embedding } from '../prompts/prompt-embeds.js'

/** The options that are negative prompts. */
const negativeTexts = ['negativePrompt', 'negativePrompt2', 'negativePrompt3'] as const

/** Whether the caller gives a negative prompt, maybe an empty one, as text or as embeddings. */
export function hasNegativePrompt({ negativePrompt, negativePromptEmbeds }: GenerateOptions): boolean {
  return negativePrompt !== undefined || negativePromptEmbeds !== undefined
}

/** The prompts of one call, checked. */
export interface PromptBatch {
  /** The number of prompts. */
  readonly size: number
  /** diffusers' `encode_prompt`, of all prompts. */
  readonly encode: (encoder: PromptEncoder, guided: boolean, call: EncodeCall) => Promise<EncodedBatch>
  /** Every text that a CLIP text encoder may encode: all but `prompt3` and `negativePrompt3`, which are for T5. */
  readonly texts: readonly string[]
}

/**
 * Checks prompts, negative prompts and embeddings as diffusers' `check_inputs` does. A single negative prompt counts for all prompts.
 * @throws InputError `prompt`, `prompt-embeds`
 */
export function promptBatch(prompt: PromptInput, options: GenerateOptions): PromptBatch {
  const { promptEmbeds } = options
  if (promptEmbeds === undefined) return textBatch(prompt, options)
  if (prompt !== null)
    throw new InputError(
      'prompt-embeds',
      'A prompt and promptEmbeds are given; allowed is one of them. Pass null as the prompt.',
      {
        prompt: 'given',
        promptEmbeds: 'given',
      },
    )
  return embeddingBatch(promptEmbeds, options)
}

function textBatch(prompt: PromptInput, options: GenerateOptions): PromptBatch {
  if (prompt === null)
    throw new InputError('prompt', 'The prompt is null; allowed is text, or null together with promptEmbeds.', {})
  const prompts = typeof prompt === 'string' ? [prompt] : prompt
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw new InputError('prompt', 'prompt is not text; allowed are a text, or a list of at least one text.', {
      prompt: JSON.stringify(prompt)?.slice(0, 200) ?? 'undefined',
    })
  for (const text of prompts as readonly unknown[]) checkPromptText('prompt', text)
  refuseAlone('promptEmbeds', {
    pooledPromptEmbeds: options.pooledPromptEmbeds,
    promptAttentionMask: options.promptAttentionMask,
  })
  const { length: size } = prompts
  const single = (index: number): SinglePromptOptions => ({
    ...options,
    prompt2: otherTextOf('prompt2', options, index, size),
    prompt3: otherTextOf('prompt3', options, index, size),
    ...negativeOf(options, index, size),
  })
  const singles = prompts.map((text: string, index) => ({ prompt: text, options: single(index) }))
  const given = readNegative(options, size)
  return {
    size,
    texts: singles.flatMap(({ prompt: text, options: own }) => [
      text,
      ...[own.prompt2, own.negativePrompt, own.negativePrompt2].filter((other) => other !== undefined),
    ]),
    encode: async (encoder, guided, call) => {
      const positive: EncodedPrompt[] = []
      const negative: EncodedPrompt[] = []
      for (const { prompt: text, options: own } of singles) {
        const encoded = await encoder.encode(text, own, guided && given === undefined, call)
        positive.push(encoded.positive)
        if (encoded.negative !== null) negative.push(encoded.negative)
      }
      if (!guided) return { positive, negative: null }
      if (given === undefined) return { positive, negative }
      checkLike(given, positive)
      return { positive, negative: given }
    },
  }
}

function negativeOf(options: GenerateOptions, index: number, size: number) {
  return {
    negativePrompt: textOf('negativePrompt', options.negativePrompt, index, size),
    negativePrompt2: otherTextOf('negativePrompt2', options, index, size),
    negativePrompt3: otherTextOf('negativePrompt3', options, index, size),
  }
}

/**
 * The text for the second or third text encoder; undefined if that encoder gets the first one's text. As in diffusers, it also gets the
 * first one's text if the option is an empty string, but not for an empty string in a list.
 */
function otherTextOf(
  name: 'prompt2' | 'prompt3' | 'negativePrompt2' | 'negativePrompt3',
  { [name]: given }: GenerateOptions,
  index: number,
  size: number,
): string | undefined {
  return given === '' ? undefined : textOf(name, given, index, size)
}

function textOf(name: string, given: string | readonly string[] | undefined, index: number, size: number): string | undefined {
  if (given === undefined) return undefined
  if (typeof given === 'string') {
    checkPromptText(name, given)
    return given
  }
  const texts: readonly string[] = Array.isArray(given) ? given : []
  const text = texts.length === size ? texts[index] : undefined
  if (text === undefined)
    throw new InputError(
      'prompt',
      `${name} has ${texts.length} texts for ${size} prompts; allowed is one text, or one for each prompt.`,
      { [name]: texts.length, expected: size },
    )
  checkPromptText(name, text)
  return text
}

function embeddingBatch(promptEmbeds: PlainTensor, options: GenerateOptions): PromptBatch {
  const positive = readEmbeddings('promptEmbeds', promptEmbeds, {
    pooled: ['pooledPromptEmbeds', options.pooledPromptEmbeds],
    mask: ['promptAttentionMask', options.promptAttentionMask],
  })
  const size = positive.length
  const negative = readNegative(options, size)
  if (negative !== undefined) checkLike(negative, positive)
  const hasText = negativeTexts.some((name) => options[name] !== undefined)
  return {
    size,
    texts: [options.negativePrompt ?? [], options.negativePrompt2 ?? []].flat(),
    encode: async (encoder, guided, call) => {
      if (!guided) return { positive, negative: null }
      if (negative !== undefined) return { positive, negative }
      const others: EncodedPrompt[] = []
      for (const [index, given] of positive.entries()) {
        const own = { ...options, prompt2: undefined, prompt3: undefined, ...negativeOf(options, index, size) }
        const encoded = await encoder.encode('', own, true, call)
        // If the family uses zeros for a missing negative prompt, they get the shape of the given embeddings.
        const isEmpty = !hasText && encoded.negative?.embeds.parts.length === 0
        if (encoded.negative !== null) others.push(isEmpty ? emptyPrompt(given) : encoded.negative)
      }
      checkLike(others, positive)
      return { positive, negative: others }
    },
  }
}

/** The negative embeddings of the options, or undefined where the negative prompt is text. @throws InputError `prompt-embeds` */
function readNegative(options: GenerateOptions, size: number): readonly EncodedPrompt[] | undefined {
  const { negativePromptEmbeds, negativePooledPromptEmbeds, negativePromptAttentionMask } = options
  if (negativePromptEmbeds === undefined) {
    refuseAlone('negativePromptEmbeds', { negativePooledPromptEmbeds, negativePromptAttentionMask })
    return undefined
  }
  const text = negativeTexts.find((name) => options[name] !== undefined)
  if (text !== undefined)
    throw new InputError('prompt-embeds', `${text} and negativePromptEmbeds are given; allowed is one of them.`, {
      [text]: 'given',
    })
  const negative = readEmbeddings('negativePromptEmbeds', negativePromptEmbeds, {
    pooled: ['negativePooledPromptEmbeds', negativePooledPromptEmbeds],
    mask: ['negativePromptAttentionMask', negativePromptAttentionMask],
  })
  if (negative.length !== size)
    throw new InputError(
      'prompt-embeds',
      `negativePromptEmbeds has ${negative.length} rows for ${size} prompts; allowed is one row for each prompt.`,
      {
        actual: negative.length,
        expected: size,
      },
    )
  return negative
}

/** Refuses tensors that belong to embeddings if the embeddings are not given. @throws InputError `prompt-embeds` */
function refuseAlone(embeds: string, others: Readonly<Record<string, PlainTensor | undefined>>): void {
  const name = Object.keys(others).find((key) => others[key] !== undefined)
  if (name === undefined) return
  throw new InputError('prompt-embeds', `${name} is given without ${embeds}; allowed are both or none.`, {})
}

/** A tensor of the options, with its name. */
type Given = readonly [name: string, tensor: PlainTensor | undefined]

function readEmbeddings(
  name: string,
  embeds: PlainTensor,
  { pooled, mask }: { readonly pooled: Given; readonly mask: Given },
): readonly EncodedPrompt[] {
  const [rows = 0, tokens = 0] = checkTensor(name, embeds, 3)
  for (const [other, tensor] of [pooled, mask]) {
    if (tensor !== undefined && checkTensor(other, tensor, 2)[0] !== rows)
      throw new InputError('prompt-embeds', `${other} has ${tensor.dims[0]} rows; ${name} has ${rows}.`, {
        actual: tensor.dims[0] ?? 0,
        expected: rows,
      })
  }
  const [maskName, maskTensor] = mask
  if (maskTensor !== undefined && maskTensor.dims[1] !== tokens)
    throw new InputError('prompt-embeds', `${maskName} has ${maskTensor.dims[1]} tokens; ${name} has ${tokens}.`, {
      actual: maskTensor.dims[1] ?? 0,
      expected: tokens,
    })
  return Array.from({ length: rows }, (_, row): EncodedPrompt => ({
    embeds: rowOf(embeds, row),
    pooled: pooled[1] === undefined ? null : rowOf(pooled[1], row),
    mask: maskTensor && rowOf(maskTensor, row),
  }))
}

/** One row of a tensor [rows, …dims]. */
function rowOf({ dims, data }: PlainTensor, row: number): Embedding {
  const own = dims.slice(1)
  const size = elementCount(own)
  const tensor = float32Tensor([1, ...own], data.subarray(row * size, (row + 1) * size))
  return { dims: own, parts: [{ tensor, at: own.map(() => 0) }] }
}

function checkTensor(name: string, { dims, data }: PlainTensor, rank: number): readonly number[] {
  const valid =
    Array.isArray(dims) &&
    dims.length === rank &&
    dims.every((dim) => Number.isInteger(dim) && dim > 0) &&
    data instanceof Float32Array &&
    data.length === elementCount(dims)
  if (!valid)
    throw new InputError(
      'prompt-embeds',
      `${name} has dims [${Array.isArray(dims) ? dims.join(', ') : String(dims)}] and ${data instanceof Float32Array ? data.length : 'no float32'} values; allowed are ${rank} dims whose product is the number of float32 values.`,
      { name, expected: rank },
    )
  return dims
}

/** Checks that the negative embeddings have the shapes of the positive ones: the denoiser gets both as one batch. */
function checkLike(negative: readonly EncodedPrompt[], positive: readonly EncodedPrompt[]): void {
  for (const [index, { embeds, pooled }] of negative.entries()) {
    const own = positive[index]
    const [actual, expected] = [embeds.dims, own?.embeds.dims ?? []]
    if (actual.join() !== expected.join() || pooled?.dims.join() !== own?.pooled?.dims.join())
      throw new InputError(
        'prompt-embeds',
        `The embeddings of the negative prompt have the shape [${actual.join(', ')}], those of the prompt [${expected.join(', ')}]; they must have the same shapes. Pass negativePromptEmbeds made together with promptEmbeds.`,
        { actual, expected },
      )
  }
}

/**
 * The rule for weights in the prompts, and the number of token chunks of the longest prompt.
 * @throws InputError `prompt-weighting` for an unknown rule, or where the pipeline's text encoders take no weights; `prompt` for too many chunks
 */
export function weightingOf(
  rule: PromptWeighting | undefined,
  { texts }: Pick<PromptBatch, 'texts'>,
  { weighted }: Pick<PromptEncoder, 'weighted'>,
  className: string,
): EncodeCall['weighting'] {
  if (rule === undefined) return undefined
  const refuse = (allowed: string) =>
    new InputError('prompt-weighting', `promptWeighting is ${JSON.stringify(rule)}; ${className} takes ${allowed}.`, {
      promptWeighting: JSON.stringify(rule),
      className,
    })
  if (weighted === undefined) throw refuse('prompts without weights only')
  if (rule !== 'a1111' && rule !== 'compel') throw refuse("'a1111' or 'compel'")
  const chunks = Math.max(1, ...texts.flatMap((text) => weighted.map((encoder) => encoder.chunks(text, rule))))
  checkChunks(chunks)
  return { rule, chunks }
}

/** Checks the widths of embeddings. @throws InputError `prompt-embeds` for embeddings that the denoiser does not take, or that lack their pooled embeddings */
export function checkEmbeddingWidths(options: PromptEmbeddings, denoiser: Pick<DenoiserModel, 'promptMisfit'>): void {
  for (const [name, embeds, pooled] of [
    ['promptEmbeds', options.promptEmbeds, options.pooledPromptEmbeds],
    ['negativePromptEmbeds', options.negativePromptEmbeds, options.negativePooledPromptEmbeds],
  ] as const) {
    if (embeds === undefined) continue
    const [hidden, pooledWidth] = [embeds.dims[2] ?? 0, pooled?.dims[1] ?? null]
    const misfit = denoiser.promptMisfit({ hidden, pooled: pooledWidth })
    if (misfit === undefined) continue
    const given = pooledWidth === null ? 'without pooled embeddings' : `with pooled embeddings ${pooledWidth} wide`
    throw new InputError(
      'prompt-embeds',
      `${name} is ${hidden} wide, ${given}, which this model does not take: its ${misfit.key} is ${JSON.stringify(misfit.value)}.`,
      { name, key: misfit.key, value: misfit.value, hidden, pooled: pooledWidth },
    )
  }
}
