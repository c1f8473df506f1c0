/**
 * Qwen2Tokenizer: converts text to the ids that Qwen2's and Qwen3's language models read (byte-level byte-pair encoding), as transformers' class of that
 * name does. @huggingface/tokenizers does the byte-pair encoding; this file splits the text into words and configures the library.
 */

import { UnsupportedError } from '../errors.js'
import { toByteCharacters } from './byte-level.js'
import { readBytePairs } from './byte-pairs.js'
import { readChat } from './chat-template.js'
import { createHfTokenizer, type HfTokenizer } from './hf-tokenizer.js'
import { isTruthy } from '../util/truthy.js'
import { readAddedTokens, roleId, type Vocabulary } from './special-tokens.js'
import {
  padOrCut,
  readSides,
  settingsOf,
  type Chat,
  type EncodedText,
  type Sides,
  type Tokenizer,
  type TokenizerFiles,
} from './types.js'

/** The longest text that is tokenized, in UTF-16 units. 512 tokens never need that much. */
const maxTextLength = 50_000

/** Unicode's white space, which is what `\s` means in transformers. In JavaScript `\s` lacks U+0085 and has U+FEFF. */
const space = String.raw`\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`

/** Contractions are matched without regard to case, and then the long s (ſ) counts as an s. */
const contraction = `'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])`

/** The words of a text: a contraction's end, letters with at most one other character before them, a digit, symbols, line ends, spaces. */
const words = new RegExp(
  [
    contraction,
    String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`,
    String.raw`\p{N}`,
    String.raw` ?[^${space}\p{L}\p{N}]+[\r\n]*`,
    String.raw`[${space}]*[\r\n]+`,
    String.raw`[${space}]+(?![^${space}])`,
    `[${space}]+`,
  ].join('|'),
  'gu',
)

/**
 * Whether a post-processor of tokenizer.json adds tokens to a text, or omits the text. As in transformers, the keys of the post-processor
 * decide, not its `type`.
 */
function changesIds(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { single, sep, cls, processors } = value as Readonly<Record<string, unknown>>
  if (Array.isArray(processors)) return processors.some(changesIds)
  if (Array.isArray(single)) return single.length !== 1 || !isText(single[0])
  return sep !== undefined || cls !== undefined
}

/** Whether a piece of a post-processor's template is the text itself. */
function isText(piece: unknown): boolean {
  return typeof piece === 'object' && piece !== null && 'Sequence' in piece
}

/**
 * Refuses files whose tokenizer adds tokens to each text. Without a tokenizer.json, the keys `add_bos_token` and `add_eos_token` of the settings
 * decide whether transformers adds tokens.
 * @throws UnsupportedError `tokenizer-model`
 */
function checkAddsNoTokens(files: TokenizerFiles): void {
  const postProcessor = files.tokenizerJson?.['post_processor']
  if (changesIds(postProcessor)) throw addsTokens('post_processor', postProcessor)
  if (files.tokenizerJson !== undefined) return
  const { add_bos_token: bos, add_eos_token: eos, bos_token: begin } = settingsOf(files)
  // transformers adds tokens only if the key is exactly True.
  if (eos === true) throw addsTokens('add_eos_token', eos)
  if (bos === true && isTruthy(begin, false)) throw addsTokens('add_bos_token', bos)
}

function addsTokens(key: string, value: unknown): UnsupportedError {
  const shown = JSON.stringify(value).slice(0, 100)
  const message = `${key} of the tokenizer is ${shown}; only a tokenizer that adds no tokens to a text is supported.`
  return new UnsupportedError('tokenizer-model', message, { key, value: shown })
}

/** Qwen's tokenizer with its vocabulary. It adds no special tokens to a text: a chat template writes them. */
export class Qwen2Tokenizer implements Tokenizer {
  static readonly classNames = ['Qwen2TokenizerFast', 'Qwen2Tokenizer']
  static readonly readsSentencePiece = false
  static readonly hasChats = true
  readonly fixedLength = null
  readonly padTokenId: number
  readonly chat: Chat
  readonly #tokenizer: HfTokenizer
  readonly #sides: Sides

  /** @throws CheckpointError `tokenizer-*` */
  constructor(files: TokenizerFiles) {
    const { vocab, merges } = readBytePairs(files)
    // Look up own properties only: the words come from the user, and every object inherits a property `constructor`.
    const known: Vocabulary = {
      size: Object.keys(vocab).length,
      idOf: (content) => (Object.hasOwn(vocab, content) ? vocab[content] : undefined),
    }
    checkAddsNoTokens(files)
    const own = '<|endoftext|>'
    const special = readAddedTokens(files, { eos_token: own, unk_token: own, pad_token: own }, known, true)
    this.padTokenId = roleId(special, 'pad_token', known)
    this.#sides = readSides(files)
    this.chat = readChat(files, special.roles)
    // With `add_prefix_space`, spaces are added after the text is split into words: every word that does not begin with a space gets one.
    const addsSpaces = isTruthy(settingsOf(files)['add_prefix_space'], false)
    const spaced = (word: string) => (addsSpaces && !word.startsWith(' ') ? ` ${word}` : word)
    const json = {
      added_tokens: special.tokens,
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        end_of_word_suffix: '',
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges,
      },
    }
    this.#tokenizer = createHfTokenizer(json, {
      normalize: (text) => text.normalize('NFC'),
      preTokenize: (text) => (text.match(words) ?? []).map((word) => toByteCharacters(spaced(word))),
    })
  }

  /** Returns all ids of a text. */
  encode(text: string): number[] {
    return [...this.#tokenizer.encode(text.slice(0, maxTextLength)).ids]
  }

  /** Returns exactly `length` ids: truncated or padded, at the sides that the settings choose. Also returns the text that was cut. */
  encodePadded(text: string, length: number): EncodedText {
    const ids = this.encode(text)
    const { inputIds, first, removed } = padOrCut(ids, length, {
      ...this.#sides,
      padTokenId: this.padTokenId,
      leading: 0,
      trailing: 0,
    })
    return {
      inputIds,
      tokens: Math.min(ids.length, length),
      first,
      removedText: removed === null ? null : this.#tokenizer.decode(removed),
    }
  }
}
