/**
 * The only file that calls @huggingface/tokenizers. It declares the part of the library that it uses, because version 0.2's declarations do
 * not resolve under `nodenext`. It also corrects a fault of the library: if a normalized text equals a token, the library treats it as this
 * token, even if the token must be searched for only before normalizing.
 */

import { Tokenizer } from '@huggingface/tokenizers'
import type { AddedToken } from './special-tokens.js'

/** The part of the library's tokenizer that is used. Between special tokens, it normalizes each section of a text and splits it into words. */
export interface HfTokenizer {
  normalizer: ((text: string) => string) | null
  pre_tokenizer: ((text: string) => string[]) | null
  /** The parts that search for tokens before normalizing, and after it. */
  splitter_unnormalized: Splitter
  splitter_normalized: Splitter
  /** The tokens by their texts, and by their normalized texts. */
  readonly added_tokens_map: Map<string, { readonly content: string; readonly single_word: boolean }>
  encode(text: string): { readonly ids: readonly number[] }
  decode(ids: readonly number[]): string
}

/** Cuts a text at the tokens that it finds. */
interface Splitter {
  split(text: string): string[]
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
  preTokenize(text: string): string[]
}

/** A noncharacter. It is appended to a normalized text, which then equals no token, and removed before the text is split into words. */
const end = '\uffff'

/** Builds a tokenizer from the contents of a tokenizer.json. */
export function createHfTokenizer(json: TokenizerJson, own?: OwnSteps): HfTokenizer {
  // The library searches for `normalized` tokens in the normalized text only if it has a normalizer; an empty one is enough.
  const replaced = own && {
    normalizer: { type: 'Sequence', normalizers: [] },
    added_tokens: json.added_tokens.map((token) =>
      token.normalized ? { ...token, content: own.normalize(token.content) || token.content } : token,
    ),
  }
  const tokenizer: HfTokenizer = new Tokenizer(
    { version: '1.0', truncation: null, padding: null, ...json, ...replaced },
    { clean_up_tokenization_spaces: false },
  )
  searchAsConfigured(tokenizer, replaced?.added_tokens ?? json.added_tokens)
  if (own !== undefined) {
    tokenizer.normalizer = (text) => own.normalize(text) + end
    tokenizer.pre_tokenizer = (text) => own.preTokenize(text.endsWith(end) ? text.slice(0, -end.length) : text)
    return tokenizer
  }
  const { normalizer } = tokenizer
  const unnormalized = new Set(json.added_tokens.filter((token) => !token.normalized).map((token) => token.content))
  if (normalizer !== null && unnormalized.size > 0) {
    tokenizer.normalizer = (text) => {
      const result = normalizer(text)
      // With a space, the text equals no token. The pre-tokenizer removes the space.
      return unnormalized.has(result) ? `${result} ` : result
    }
  }
  return tokenizer
}

/** `\w` of the Rust library. */
const wordCharacter = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u

/**
 * The library finds every added token in a text. This function makes it treat two kinds as text: tokens that are not `searched`, and tokens with
 * `single_word` within a longer word.
 */
function searchAsConfigured(tokenizer: HfTokenizer, tokens: readonly AddedToken[]): void {
  const byText = tokenizer.added_tokens_map
  const left = new Set(tokens.filter((token) => !token.searched).map((token) => token.content))
  const single = new Set([...byText].filter(([, token]) => token.single_word).map(([text]) => text))
  if (left.size === 0 && single.size === 0) return
  const notSearched = new Set([...byText].filter(([, token]) => left.has(token.content)).map(([text]) => text))
  for (const text of notSearched) byText.delete(text)
  for (const name of ['splitter_unnormalized', 'splitter_normalized'] as const) {
    const splitter = tokenizer[name]
    tokenizer[name] = {
      split: (text) => {
        const kept: string[] = []
        let at = 0
        // Whether the last part is text, so that the next part can be appended to it.
        let isText = false
        for (const part of splitter.split(text)) {
          const before = Array.from(text.slice(Math.max(0, at - 2), at)).at(-1) ?? ''
          const after = Array.from(text.slice(at + part.length, at + part.length + 2))[0] ?? ''
          const inWord = single.has(part) && (wordCharacter.test(before) || wordCharacter.test(after))
          const nextIsText = notSearched.has(part) || inWord || !byText.has(part)
          if (isText && nextIsText) kept.push((kept.pop() ?? '') + part)
          else kept.push(part)
          isText = nextIsText
          at += part.length
        }
        return kept
      },
    }
  }
}
