/**
 * A normalizer for @huggingface/tokenizers 0.2 that keeps a text from turning into a special token by being normalized: that library
 * takes a whole text that equals a token for that token, also where the token is to be looked for before lowercasing only.
 */

import { Normalizer } from '@huggingface/tokenizers'

/** Wraps `inner`; a result that equals one of `contents` gets a space at its end, which the pre-tokenizer drops. */
export class GuardedNormalizer extends Normalizer {
  readonly inner: Normalizer
  readonly contents: ReadonlySet<string>

  constructor(inner: Normalizer, contents: ReadonlySet<string>) {
    super(inner.config)
    this.inner = inner
    this.contents = contents
  }

  override normalize(text: string): string {
    const result = this.inner.normalize(text)
    return this.contents.has(result) ? `${result} ` : result
  }
}
