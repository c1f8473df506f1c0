/**
 * The one place that calls @huggingface/tokenizers. States what is used of it (version 0.2 ships declarations that do not resolve under
 * `nodenext`), and keeps a text from turning into a special token by being normalized: that library takes a whole text that equals a
 * token for that token, also where the token is to be looked for before lowercasing only.
 */

import { Tokenizer } from '@huggingface/tokenizers'
import type { AddedToken } from './special-tokens.js'

/** What is used of the library's tokenizer. */
export interface HfTokenizer {
  normalizer: ((text: string) => string) | null
  encode(text: string): { readonly ids: readonly number[] }
  decode(ids: readonly number[]): string
}

/** The part of tokenizer.json that is needed. */
export interface TokenizerJson {
  readonly added_tokens: readonly AddedToken[]
  readonly normalizer: object | null
  readonly pre_tokenizer: object | null
  readonly post_processor: object | null
  readonly decoder: object | null
  readonly model: object
}

/** Builds a tokenizer from the contents of a tokenizer.json, with a normalizer of our own where the library's does not do. */
export function createHfTokenizer(json: TokenizerJson, normalize?: (text: string) => string): HfTokenizer {
  const tokenizer: HfTokenizer = new Tokenizer(
    { version: '1.0', truncation: null, padding: null, ...json },
    { clean_up_tokenization_spaces: false },
  )
  if (normalize !== undefined) tokenizer.normalizer = normalize
  const { normalizer } = tokenizer
  const unnormalized = new Set(json.added_tokens.filter((token) => !token.normalized).map((token) => token.content))
  if (normalizer !== null && unnormalized.size > 0) {
    tokenizer.normalizer = (text) => {
      const result = normalizer(text)
      // The pre-tokenizer drops a space at the end.
      return unnormalized.has(result) ? `${result} ` : result
    }
  }
  return tokenizer
}
