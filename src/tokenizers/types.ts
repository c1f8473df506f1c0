/** The input and the results of tokenizers. */

import { CheckpointError } from '../errors.js'

type Json = Readonly<Record<string, unknown>>

/** The parsed files of a tokenizer's folder; each may be missing. */
export interface TokenizerFiles {
  readonly tokenizerJson?: Json | undefined
  readonly tokenizerConfig?: Json | undefined
  readonly specialTokensMap?: Json | undefined
  readonly vocab?: Json | undefined
  /** `merges.txt` as text. */
  readonly merges?: string | undefined
}

/** A text in the form that a text encoder reads. */
export interface EncodedText {
  readonly inputIds: readonly number[]
  /** How many of the ids are the text's. The rest, at the end, is padding. */
  readonly tokens: number
  /** The text that was cut, or null. */
  readonly removedText: string | null
}

/** A tokenizer with its vocabulary. */
export interface Tokenizer {
  /** The number of ids that its text encoder takes, or null where the caller chooses it. */
  readonly fixedLength: number | null
  readonly padTokenId: number
  /** All ids of a text, special tokens included. */
  encode(text: string): number[]
  /** Exactly `length` ids: a longer text is truncated before its end token, a shorter one is padded. */
  encodePadded(text: string, length: number): EncodedText
}

/** A tokenizer class. */
export interface TokenizerDefinition {
  /** The classes of transformers that give the same ids. */
  readonly classNames: readonly string[]
  /** Whether the vocabulary may be a SentencePiece model, `spiece.model`. */
  readonly readsSentencePiece: boolean
  /** @throws CheckpointError, UnsupportedError `tokenizer-*` */
  new (files: TokenizerFiles): Tokenizer
}

/** Reads `model_max_length` of the config; transformers writes 10^30 for "none". @throws CheckpointError `tokenizer-max-length` */
export function readMaxLength(files: TokenizerFiles, fallback: number): number {
  const value = files.tokenizerConfig?.['model_max_length'] ?? fallback
  if (typeof value !== 'number' || !(value >= 3)) {
    throw new CheckpointError(
      'tokenizer-max-length',
      `model_max_length of the tokenizer is ${JSON.stringify(value)}; expected a number of at least 3.`,
    )
  }
  return value > 100_000 ? fallback : Math.floor(value)
}
