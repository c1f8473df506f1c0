/**
 * T5Tokenizer: converts text to the ids that T5's encoder reads (a unigram model of SentencePiece), as Hugging Face's Rust library does with
 * tokenizer.json. Parts that the file leaves out are as in transformers' T5Tokenizer.
 */

import { CheckpointError, UnsupportedError } from '../errors.js'
import { createHfTokenizer, type HfTokenizer } from './hf-tokenizer.js'
import { readAddedTokens, roleId } from './special-tokens.js'
import { padOrCut, readSides, type EncodedText, type Sides, type Tokenizer, type TokenizerFiles } from './types.js'
import { unigramNormalizer } from './unigram-normalizer.js'
import { unigramPreTokenizer } from './unigram-pre-tokenizer.js'

/** The longest text that is looked up in the vocabulary, in characters. 512 tokens never need that much. */
const maxTextLength = 50_000
const maxVocabulary = 2_000_000

/** T5's tokenizer with its vocabulary. */
export class T5Tokenizer implements Tokenizer {
  static readonly classNames = ['T5TokenizerFast', 'T5Tokenizer']
  static readonly readsSentencePiece = true
  readonly fixedLength = null
  readonly padTokenId: number
  readonly #tokenizer: HfTokenizer
  readonly #sides: Sides

  /** @throws CheckpointError `tokenizer-*` */
  constructor(files: TokenizerFiles) {
    const { pieces, unknown } = readPieces(files)
    const ids = new Map(pieces.map(([piece], id) => [piece, id]))
    const vocabulary = { size: pieces.length, idOf: (content: string) => ids.get(content) }
    const special = readAddedTokens(files, { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' }, vocabulary)
    const idOf = (role: keyof typeof special.roles) => roleId(special, role, vocabulary)
    const eos = special.roles.eos_token || special.roles.unk_token
    this.padTokenId = idOf('pad_token')
    this.#sides = readSides(files)
    const { normalizer, pre_tokenizer: preTokenizer, post_processor: postProcessor } = files.tokenizerJson ?? {}
    checkPostProcessor(postProcessor, eos)
    const cut = unigramPreTokenizer(preTokenizer)
    const known = new Set(pieces.map(([piece]) => piece).join(''))
    const own = {
      normalize: unigramNormalizer(normalizer),
      preTokenize: (text: string, first: boolean) => shorten(cut(text, first), known),
    }
    const json = {
      added_tokens: special.tokens,
      normalizer: null,
      pre_tokenizer: null,
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: eos, type_id: 0 } }],
        pair: [],
        special_tokens: { [eos]: { id: eos, ids: [idOf('eos_token')], tokens: [eos] } },
      },
      decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
      model: { type: 'Unigram', unk_id: unknown, vocab: pieces, byte_fallback: false },
    }
    this.#tokenizer = createHfTokenizer(json, own)
  }

  /** Returns all ids of a text, with the end token last. */
  encode(text: string): number[] {
    return [...this.#tokenizer.encode(text).ids]
  }

  /** Returns exactly `length` ids: truncated before the end token, or padded. Also returns the text that was cut. */
  encodePadded(text: string, length: number): EncodedText {
    const ids = this.encode(text)
    const { inputIds, first, removed } = padOrCut(ids, length, {
      ...this.#sides,
      padTokenId: this.padTokenId,
      leading: 0,
      trailing: 1,
    })
    const removedText = removed === null || removed.length === 0 ? null : this.#tokenizer.decode(removed)
    return { inputIds, tokens: Math.min(ids.length, length), first, removedText: removed?.length === 0 ? '' : removedText }
  }
}

/**
 * The part of the words that determines the ids. A run of characters that are in no piece (`known` contains the others) becomes one id, so one of them is
 * kept. The text is cut to its longest length here, after white space was removed: so the cut is behind all ids that matter.
 */
function shorten(words: readonly string[], known: ReadonlySet<string>): string[] {
  let left = maxTextLength
  const kept: string[] = []
  for (const word of words) {
    if (left <= 0) break
    let unknown = false
    const different = Array.from(word).filter((character) => {
      const again = unknown
      unknown = !known.has(character)
      return !(again && unknown)
    })
    kept.push(different.slice(0, left).join(''))
    left -= different.length
  }
  return kept
}

/** Checks that the post-processor appends the end token and does nothing else. @throws UnsupportedError `tokenizer-post-processor` */
function checkPostProcessor(postProcessor: unknown, eos: string): void {
  if (postProcessor === null || postProcessor === undefined) return
  const { type, single } = postProcessor as Readonly<Record<string, unknown>>
  const parts: readonly unknown[] = type === 'TemplateProcessing' && Array.isArray(single) ? single : []
  const [text, end] = parts.map((part) => part as { Sequence?: { id?: unknown }; SpecialToken?: { id?: unknown } } | null)
  if (parts.length === 2 && text?.Sequence?.id === 'A' && end?.SpecialToken?.id === eos) return
  const shown = JSON.stringify(type === 'TemplateProcessing' ? single : type)?.slice(0, 200) ?? 'undefined'
  throw new UnsupportedError(
    'tokenizer-post-processor',
    `The tokenizer's post-processor ${shown} is not supported; supported: TemplateProcessing of the text and eos_token, ${eos}.`,
    { postProcessor: shown },
  )
}

type Piece = readonly [string, number]

/** Reads the unigram vocabulary of tokenizer.json: pieces with their log probabilities. */
function readPieces(files: TokenizerFiles): { readonly pieces: readonly Piece[]; readonly unknown: number } {
  const model = files.tokenizerJson?.['model']
  const {
    vocab,
    unk_id: unknown,
    byte_fallback: bytes,
  } = (typeof model === 'object' && model !== null ? model : {}) as Readonly<Record<string, unknown>>
  if (!Array.isArray(vocab) || vocab.length === 0 || vocab.length > maxVocabulary)
    throw new CheckpointError('tokenizer-vocabulary', 'The tokenizer has no unigram vocabulary in tokenizer.json.')
  for (const entry of vocab as readonly unknown[]) {
    if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number')
      throw new CheckpointError(
        'tokenizer-vocabulary',
        'An entry of the unigram vocabulary in tokenizer.json is not a piece and its score.',
      )
  }
  if (typeof unknown !== 'number' || !Number.isInteger(unknown) || unknown < 0 || unknown >= vocab.length)
    throw new CheckpointError('tokenizer-vocabulary', 'unk_id in tokenizer.json is not an id of its vocabulary.')
  if (bytes === true)
    throw new UnsupportedError(
      'tokenizer-model',
      'byte_fallback of the unigram model in tokenizer.json is true; supported: false.',
      {
        byteFallback: true,
      },
    )
  return { pieces: vocab as readonly Piece[], unknown }
}
