/** What tokenizers are made from and what they give. */

import { CheckpointError } from '../errors.js'

type Json = Readonly<Record<string, unknown>>

/** The files of a tokenizer's folder, parsed; whatever is there. */
export interface TokenizerFiles {
  readonly tokenizerJson?: Json | undefined
  readonly tokenizerConfig?: Json | undefined
  readonly specialTokensMap?: Json | undefined
  readonly vocab?: Json | undefined
  /** `merges.txt` as text. */
  readonly merges?: string | undefined
}

/** A text as a text encoder reads it. */
export interface EncodedText {
  readonly inputIds: readonly number[]
  /** What had to be cut away, or null. */
  readonly removedText: string | null
}

/** `model_max_length` of the config; transformers writes 10^30 for "none". @throws CheckpointError `tokenizer-max-length` */
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
