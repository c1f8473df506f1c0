/**
 * CLIPTokenizer: converts text to the ids that CLIP's text encoders read, as transformers' class of that name does. @huggingface/tokenizers does the
 * byte-pair encoding; this file configures it from the files that a repository has.
 */

import { InputError } from '../errors.js'
import { readBytePairs } from './byte-pairs.js'
import { createHfTokenizer, type HfTokenizer } from './hf-tokenizer.js'
import { readAddedTokens, roleId, type AddedToken, type Vocabulary } from './special-tokens.js'
import { padOrCut, readMaxLength, readSides, type EncodedText, type Sides, type Tokenizer, type TokenizerFiles } from './types.js'

/**
 * The longest text that is tokenized, in UTF-16 units. 77 tokens never need that much, and a single word of a million letters
 * would take minutes.
 */
const maxTextLength = 50_000

const pattern = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`

/**
 * The parts of a word: a contraction's end, letters, digits or symbols. Only a special token's text, which `pattern` takes as one word,
 * has several parts.
 */
const parts = String.raw`'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{L}\p{N}]+`

/** CLIP's tokenizer with its vocabulary. */
export class CLIPTokenizer implements Tokenizer {
  static readonly classNames = ['CLIPTokenizer', 'CLIPTokenizerFast']
  static readonly readsSentencePiece = false
  /** 77 unless the tokenizer's config says otherwise. */
  readonly fixedLength: number
  readonly padTokenId: number
  readonly #tokenizer: HfTokenizer
  readonly #sides: Sides
  readonly #files: TokenizerFiles
  /** The id of each added token, by its text. */
  readonly #added: ReadonlyMap<string, number>
  readonly #vocabulary: Vocabulary

  /** `more`: tokens to add to those of the files. @throws CheckpointError `tokenizer-*` */
  constructor(files: TokenizerFiles, more: readonly string[] = []) {
    const { vocab, merges } = readBytePairs(files)
    // Look up own properties only: the words come from the user, and every object inherits a property `constructor`.
    const known: Vocabulary = {
      size: Object.keys(vocab).length,
      idOf: (content) => (Object.hasOwn(vocab, content) ? vocab[content] : undefined),
    }
    const roles = {
      bos_token: '<|startoftext|>',
      eos_token: '<|endoftext|>',
      unk_token: '<|endoftext|>',
      pad_token: '<|endoftext|>',
    }
    const own = readAddedTokens(files, roles, known)
    const next = Math.max(known.size, ...own.tokens.map(({ id }) => id + 1))
    const special = {
      roles: own.roles,
      tokens: [...own.tokens, ...more.map((content, index) => addedToken(content, next + index))],
    }
    this.#files = files
    this.#vocabulary = known
    this.#added = new Map(special.tokens.map(({ content, id }) => [content, id]))
    const idOf = (role: keyof typeof special.roles) => roleId(special, role, known)
    const { bos_token: bos, eos_token: eos, unk_token: unk } = special.roles
    this.fixedLength = readMaxLength(files, 77)
    this.padTokenId = idOf('pad_token')
    this.#sides = readSides(files)
    this.#tokenizer = createHfTokenizer({
      added_tokens: special.tokens,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'NFC' },
          { type: 'Replace', pattern: { Regex: String.raw`\s+` }, content: ' ' },
          // Rust lowercases each character alone. JavaScript would lowercase Σ at the end of a word to ς.
          { type: 'Replace', pattern: { String: 'Σ' }, content: 'σ' },
          { type: 'Lowercase' },
        ],
      },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true },
          // For words without spaces, this expression splits like ByteLevel's own expression. ByteLevel's is not used, because it contains
          // `\s`, which in JavaScript matches U+FEFF.
          { type: 'Split', pattern: { Regex: parts }, behavior: 'Isolated', invert: false },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: {
        type: 'RobertaProcessing',
        sep: [eos || unk, idOf('eos_token')],
        cls: [bos || unk, idOf('bos_token')],
        trim_offsets: false,
        add_prefix_space: false,
      },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: unk,
        continuing_subword_prefix: '',
        end_of_word_suffix: '</w>',
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges,
      },
    })
  }

  /** Returns all ids of a text, between the start token and the end token. */
  encode(text: string): number[] {
    return [...this.#tokenizer.encode(shorten(text)).ids]
  }

  /**
   * Returns exactly `length` ids: truncated between the start token and the end token, or padded with the padding token. Also returns the text that was cut, as
   * diffusers reports it.
   */
  encodePadded(text: string, length = this.fixedLength): EncodedText {
    const ids = this.encode(text)
    const { inputIds, first, removed } = padOrCut(ids, length, {
      ...this.#sides,
      padTokenId: this.padTokenId,
      leading: 1,
      trailing: 1,
    })
    return { inputIds, tokens: Math.min(ids.length, length), first, removedText: removed === null ? null : this.decode(removed) }
  }

  /**
   * Adds tokens like transformers' `add_tokens`.
   * @throws InputError `token` for a text that is already an added token or in the vocabulary, as in diffusers
   */
  withTokens(contents: readonly string[]): { readonly tokenizer: CLIPTokenizer; readonly ids: readonly number[] } {
    for (const content of contents)
      if (this.#added.has(content) || this.#vocabulary.idOf(content) !== undefined)
        throw new InputError(
          'token',
          `The tokenizer has the token ${JSON.stringify(content)} already; choose another with the option token, or rename the file.`,
          {
            token: content,
          },
        )
    const tokenizer = new CLIPTokenizer(this.#files, contents)
    return { tokenizer, ids: contents.map((content) => tokenizer.#added.get(content) ?? 0) }
  }

  /** Decodes ids to text, with one space between words. */
  decode(ids: readonly number[]): string {
    if (ids.length === 0) return ''
    return this.#tokenizer.decode(ids).replaceAll('</w>', ' ').trim()
  }
}

/** The token that transformers' `add_tokens` creates for a text. */
function addedToken(content: string, id: number): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false, searched: true }
}

/**
 * Cuts a text to a length that 77 tokens never need. It first collapses white space, which the tokenizer would do anyway, so that spaces do
 * not use up this length.
 */
function shorten(text: string): string {
  return text.length <= maxTextLength ? text : text.replaceAll(/[ \t\n\r]+/g, ' ').slice(0, maxTextLength)
}
