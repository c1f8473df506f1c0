/**
 * The one place that calls @huggingface/tokenizers. States what is used of it (version 0.2 ships declarations that do not resolve under
 * `nodenext`), and keeps a text from turning into a special token by being normalized: that library takes a whole text that equals a
 * token for that token, also where the token is to be looked for before lowercasing only.
 */

import { Tokenizer } from '@huggingface/tokenizers'
import type { AddedToken } from './special-tokens.js'

/** What is used of the library's tokenizer. Between special tokens it normalizes each section of a text and cuts it into words. */
export interface HfTokenizer {
  normalizer: ((text: string) => string) | null
  pre_tokenizer: ((text: string, at: { readonly section_index: number }) => string[]) | null
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

/** A normalizer and a pre-tokenizer of our own, where the library's do not do. */
export interface OwnSteps {
  normalize(text: string): string
  /** `first`: whether nothing comes before the text. */
  preTokenize(text: string, first: boolean): string[]
}

/** A character that is none: put after a normalized text, which then equals no token, and taken off again before it is cut into words. */
const end = '\uffff'

/** Builds a tokenizer from the contents of a tokenizer.json. */
export function createHfTokenizer(json: TokenizerJson, own?: OwnSteps): HfTokenizer {
  const tokenizer: HfTokenizer = new Tokenizer(
    { version: '1.0', truncation: null, padding: null, ...json },
    { clean_up_tokenization_spaces: false },
  )
  if (own !== undefined) {
    tokenizer.normalizer = (text) => own.normalize(text) + end
    tokenizer.pre_tokenizer = (text, at) => own.preTokenize(text.slice(0, -end.length), at.section_index === 0)
    return tokenizer
  }
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
