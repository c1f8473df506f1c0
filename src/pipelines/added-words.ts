/** Textual inversion: words that a text encoder has learned, each with one or more rows of the token embedding. Named as in diffusers. */

import { InputError } from '../errors.js'
import type { Tokenizer } from '../tokenizers/types.js'

/** A learned word. */
export interface AddedWord {
  readonly token: string
  /** The rows of the token embedding for the word: at least one, each as wide as the encoder's. */
  readonly vectors: readonly Float32Array<ArrayBuffer>[]
}

/** The words of one text encoder, and the tokenizer that knows them. */
export class AddedWords {
  readonly #plain: Tokenizer
  #tokenizer: Tokenizer
  #words: readonly AddedWord[] = []
  #rows: ReadonlyMap<number, Float32Array<ArrayBuffer>> = new Map()
  /** The tokens, `word` and `word_1`, by their ids. */
  #contents: ReadonlyMap<number, string> = new Map()
  /** All ids of each word, by its first id. */
  #ids: ReadonlyMap<number, readonly number[]> = new Map()

  constructor(tokenizer: Tokenizer) {
    this.#plain = tokenizer
    this.#tokenizer = tokenizer
  }

  /** The tokenizer, with all words. */
  get tokenizer(): Tokenizer {
    return this.#tokenizer
  }

  /** The token-embedding rows of all words, by token id. */
  get rows(): ReadonlyMap<number, Float32Array<ArrayBuffer>> {
    return this.#rows
  }

  /** Prepares the tokenizer and the rows for one more word; the returned function makes the change. @throws InputError `token` for a token in use, or of the vocabulary */
  with(word: AddedWord): () => void {
    return this.#prepare([...this.#words, word])
  }

  /** Removes all words. */
  clear(): void {
    this.#prepare([])()
  }

  /**
   * diffusers' `maybe_convert_prompt`: in the text, a word with several vectors becomes as many tokens, `word word_1 word_2`. The tokenizer ignores the
   * case of words, but only a loaded word without capital letters is replaced, and only where the text has it in lower case.
   */
  convert(text: string): string {
    if (this.#ids.size === 0) return text
    const known = new Set(this.#contents.values())
    const found = this.#tokenizer.encode(text).map((id) => this.#contents.get(id)?.toLowerCase())
    let converted = text
    for (const token of new Set(found)) {
      if (token === undefined || !known.has(token)) continue
      const all = [token]
      while (known.has(`${token}_${all.length}`)) all.push(`${token}_${all.length}`)
      converted = converted.replaceAll(token, () => all.join(' '))
    }
    return converted
  }

  /** The ids of all vectors of the word whose first id is `id`; `id` alone if no word begins with it. */
  idsOf(id: number): readonly number[] {
    return this.#ids.get(id) ?? [id]
  }

  #prepare(words: readonly AddedWord[]): () => void {
    const contents = words.flatMap(({ token, vectors }) => tokensOf(token, vectors.length))
    const twice = contents.find((content, index) => contents.indexOf(content) !== index)
    if (twice !== undefined)
      throw new InputError(
        'token',
        `The token ${JSON.stringify(twice)} is loaded already; choose another with the option token, or rename the file.`,
        {
          token: twice,
        },
      )
    const made = contents.length === 0 ? { tokenizer: this.#plain, ids: [] } : this.#plain.withTokens?.(contents)
    if (made === undefined) throw new InputError('token', 'The tokenizer of this text encoder takes no further tokens.', {})
    const vectors = words.flatMap((word) => word.vectors)
    const rows = new Map(made.ids.map((id, index) => [id, vectors[index] ?? new Float32Array()] as const))
    const ids = new Map<number, readonly number[]>()
    let first = 0
    for (const word of words) {
      const own = made.ids.slice(first, (first += word.vectors.length))
      if (own[0] !== undefined) ids.set(own[0], own)
    }
    return () => {
      this.#words = words
      this.#tokenizer = made.tokenizer
      this.#rows = rows
      this.#contents = new Map(made.ids.map((id, index) => [id, contents[index] ?? '']))
      this.#ids = ids
    }
  }
}

/** The tokens of a word with `count` vectors: `word`, `word_1`, `word_2`, …. */
function tokensOf(token: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => (index === 0 ? token : `${token}_${index}`))
}
