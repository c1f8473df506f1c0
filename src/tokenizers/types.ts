/** The input and the results of tokenizers. */

import { CheckpointError, UnsupportedError } from '../errors.js'

type Json = Readonly<Record<string, unknown>>

/** The parsed files of a tokenizer's folder; each may be missing. */
export interface TokenizerFiles {
  readonly tokenizerJson?: Json | undefined
  readonly tokenizerConfig?: Json | undefined
  readonly specialTokensMap?: Json | undefined
  /** `added_tokens.json`, which releases of transformers before 4.34 write: ids by text. */
  readonly addedTokens?: Json | undefined
  readonly vocab?: Json | undefined
  /** `merges.txt` as text. */
  readonly merges?: string | undefined
  /** `chat_template.jinja` as text. */
  readonly chatTemplate?: string | undefined
}

/** A text in the form that a text encoder reads. */
export interface EncodedText {
  readonly inputIds: readonly number[]
  /** How many of the ids belong to the text. The others are padding, which is at the end unless the tokenizer pads at the beginning. */
  readonly tokens: number
  /** The index of the text's first id: 0 unless there is padding at the beginning. */
  readonly first: number
  /** The text that was cut, or null. */
  readonly removedText: string | null
}

/** How a pipeline class calls a template. */
export interface ChatOptions {
  /** The template's `enable_thinking`: whether the model may think before it answers. */
  readonly enableThinking: boolean
}

/** Writes the text of a conversation in which the user says `prompt`. @throws UnsupportedError `tokenizer-model` if the template fails */
export type Chat = (prompt: string, options: ChatOptions) => string

/** A tokenizer with its vocabulary. */
export interface Tokenizer {
  /** The number of ids that its text encoder takes, or null if the caller chooses it. */
  readonly fixedLength: number | null
  readonly padTokenId: number
  /** All ids of a text, special tokens included. */
  encode(text: string): number[]
  /** Exactly `length` ids: a longer text is truncated but keeps its special tokens, a shorter text is padded. */
  encodePadded(text: string, length: number): EncodedText
  /** Writes a prompt as a conversation. Absent for tokenizer classes that use no chat template. */
  readonly chat?: Chat | undefined
  /** The same tokenizer with more added tokens, and their ids. Absent for classes whose encoders have no textual inversion. */
  readonly withTokens?:
    | ((contents: readonly string[]) => { readonly tokenizer: Tokenizer; readonly ids: readonly number[] })
    | undefined
}

/** A tokenizer class. */
export interface TokenizerDefinition {
  /** The classes of transformers that give the same ids. */
  readonly classNames: readonly string[]
  /** Whether the vocabulary may be a SentencePiece model, `spiece.model`. */
  readonly readsSentencePiece: boolean
  /** Whether the class uses a chat template, which may be in `chat_template.jinja`. */
  readonly hasChats?: boolean
  /** @throws CheckpointError, UnsupportedError `tokenizer-*` */
  new (files: TokenizerFiles): Tokenizer
}

/** The ends of a text at which a tokenizer pads it and cuts it. */
export interface Sides {
  readonly padding: 'left' | 'right'
  readonly truncation: 'left' | 'right'
}

/**
 * The settings of a tokenizer: tokenizer_config.json. As in transformers, special_tokens_map.json overrides any of its keys, unless
 * tokenizer_config.json has `added_tokens_decoder`.
 */
export function settingsOf({ tokenizerConfig, specialTokensMap }: TokenizerFiles): Json {
  return tokenizerConfig?.['added_tokens_decoder'] === undefined ? { ...tokenizerConfig, ...specialTokensMap } : tokenizerConfig
}

/** Reads `padding_side` and `truncation_side` of the settings, or the directions in tokenizer.json. @throws UnsupportedError `tokenizer-side` */
export function readSides(files: TokenizerFiles): Sides {
  const settings = settingsOf(files)
  const read = (kind: 'padding' | 'truncation'): 'left' | 'right' => {
    const key = `${kind}_side`
    const inJson = files.tokenizerJson?.[kind] as { readonly direction?: unknown } | null | undefined
    const own = settings[key]
    const value = own === undefined ? (inJson?.direction ?? 'right') : own
    // tokenizer.json has `Left` and `Right`. The settings must have lower case, as in transformers.
    const side = own === undefined && typeof value === 'string' ? value.toLowerCase() : value
    if (side === 'left' || side === 'right') return side
    const shown = JSON.stringify(value)?.slice(0, 100) ?? 'undefined'
    throw new UnsupportedError('tokenizer-side', `${key} of the tokenizer is ${shown}; supported: left, right.`, {
      key,
      value: shown,
    })
  }
  return { padding: read('padding'), truncation: read('truncation') }
}

/** What {@link padOrCut} needs of a tokenizer. */
export interface Padding extends Sides {
  readonly padTokenId: number
  /** How many ids at the beginning of every text are special. Special ids are kept when the text is cut. */
  readonly leading: 0 | 1
  /** How many ids at the end of every text are special. */
  readonly trailing: 0 | 1
}

/** Pads ids to `length`, or cuts the text between its special tokens. `removed`: the ids that were cut, or null. */
export function padOrCut(
  ids: readonly number[],
  length: number,
  { padTokenId, leading, trailing, padding, truncation }: Padding,
): { readonly inputIds: readonly number[]; readonly first: number; readonly removed: readonly number[] | null } {
  if (ids.length <= length) {
    const pads = Array<number>(length - ids.length).fill(padTokenId)
    return padding === 'left'
      ? { inputIds: [...pads, ...ids], first: pads.length, removed: null }
      : { inputIds: [...ids, ...pads], first: 0, removed: null }
  }
  const end = ids.length - trailing
  const text = ids.slice(leading, end)
  const kept = length - leading - trailing
  const cut = truncation === 'left' ? text.slice(text.length - kept) : text.slice(0, kept)
  const removed = truncation === 'left' ? text.slice(0, text.length - kept) : text.slice(kept)
  return { inputIds: [...ids.slice(0, leading), ...cut, ...ids.slice(end)], first: 0, removed }
}

/** Reads `model_max_length` of the settings; transformers writes 10^30 for "none". @throws CheckpointError `tokenizer-max-length` */
export function readMaxLength(files: TokenizerFiles, fallback: number): number {
  const value = settingsOf(files)['model_max_length'] ?? fallback
  if (typeof value !== 'number' || !(value >= 3)) {
    throw new CheckpointError(
      'tokenizer-max-length',
      `model_max_length of the tokenizer is ${JSON.stringify(value)}; expected a number of at least 3.`,
    )
  }
  return value > 100_000 ? fallback : Math.floor(value)
}
