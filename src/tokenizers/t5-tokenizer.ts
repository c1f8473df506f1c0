/**
 * T5Tokenizer: converts text to the ids that T5's encoder reads (a unigram model of SentencePiece), as transformers 5's class of this
 * name does. From tokenizer.json it takes only the vocabulary, the table of replaced characters, the added tokens, and the sides of padding
 * and truncation. tokenizer_config.json can override the tokens and the sides.
 */

import { CheckpointError } from '../errors.js'
import { createHfTokenizer, type HfTokenizer } from './hf-tokenizer.js'
import { readAddedTokens, roleId } from './special-tokens.js'
import { padOrCut, readSides, type EncodedText, type Sides, type Tokenizer, type TokenizerFiles } from './types.js'
import { t5Normalizer, t5Words } from './t5-words.js'

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
    const pieces = readPieces(files)
    const ids = new Map(pieces.map(([piece], id) => [piece, id]))
    const vocabulary = { size: pieces.length, idOf: (content: string) => ids.get(content) }
    const special = readAddedTokens(files, { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' }, vocabulary)
    const idOf = (role: keyof typeof special.roles) => roleId(special, role, vocabulary)
    const eos = special.roles.eos_token || special.roles.unk_token
    this.padTokenId = idOf('pad_token')
    this.#sides = readSides(files)
    const known = new Set(pieces.map(([piece]) => piece).join(''))
    const own = {
      normalize: t5Normalizer(files.tokenizerJson?.['normalizer']),
      preTokenize: (text: string) => shorten(t5Words(text), known),
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

  /** Returns exactly `length` ids: truncated or padded. The end token is kept. Also returns the text that was cut. */
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
 * The part of the words that determines the ids. A run of characters that are in no piece becomes one id, so only one of them is kept.
 * `known` has the characters of all pieces. A very long text is cut here, after white space was removed, so that the cut is far behind
 * the last id that is used.
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

type Piece = readonly [string, number]

/** transformers' T5Tokenizer takes the third piece as the unknown one, whatever `unk_id` says. */
const unknown = 2

/** Reads the unigram vocabulary of tokenizer.json: pieces with their log probabilities. @throws CheckpointError `tokenizer-vocabulary` */
function readPieces(files: TokenizerFiles): readonly Piece[] {
  const model = files.tokenizerJson?.['model']
  const { vocab } = (typeof model === 'object' && model !== null ? model : {}) as Readonly<Record<string, unknown>>
  if (!Array.isArray(vocab) || vocab.length <= unknown || vocab.length > maxVocabulary)
    throw new CheckpointError('tokenizer-vocabulary', 'The tokenizer has no unigram vocabulary in tokenizer.json.')
  for (const entry of vocab as readonly unknown[]) {
    if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number')
      throw new CheckpointError(
        'tokenizer-vocabulary',
        'An entry of the unigram vocabulary in tokenizer.json is not a piece and its score.',
      )
  }
  return vocab as readonly Piece[]
}
