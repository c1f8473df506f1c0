/**
 * The only file that calls @huggingface/tokenizers. It declares the part of the library that it uses, because version 0.2's declarations do not
 * resolve under `nodenext`. It also prevents that normalizing turns a text into a special token: the library treats a text that equals a token as
 * that token, even if the token must be searched for only before lowercasing.
 */

import { Tokenizer } from '@huggingface/tokenizers'
import type { AddedToken } from './special-tokens.js'

/** The part of the library's tokenizer that is used. Between special tokens, it normalizes each section of a text and splits it into words. */
export interface HfTokenizer {
  normalizer: ((text: string) => string) | null
  pre_tokenizer: ((text: string, at: { readonly section_index: number }) => string[]) | null
  encode(text: string): { readonly ids: readonly number[] }
  decode(ids: readonly number[]): string
}

/** The part of tokenizer.json that the library needs. */
export interface TokenizerJson {
  readonly added_tokens: readonly AddedToken[]
  readonly normalizer: object | null
  readonly pre_tokenizer: object | null
  readonly post_processor: object | null
  readonly decoder: object | null
  readonly model: object
}

/** Replacements for the library's normalizer and pre-tokenizer. */
export interface OwnSteps {
  normalize(text: string): string
  /** `first` says whether the section is at the beginning of the text. */
  preTokenize(text: string, first: boolean): string[]
}

/** A noncharacter. It is appended to a normalized text, which then equals no token, and removed before the text is split into words. */
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
      // The pre-tokenizer removes a space at the end.
      return unnormalized.has(result) ? `${result} ` : result
    }
  }
  return tokenizer
}
