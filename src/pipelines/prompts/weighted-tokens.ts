/** Weighted prompts as token ids: in chunks of as many tokens as a text encoder takes, each with the weights of its tokens. Pure. */

import type { Tokenizer } from '../../tokenizers/types.js'
import { parseWeights } from './weighted-prompt.js'

/** Ids and weights of one run of a text encoder. */
export interface TokenChunk {
  readonly inputIds: readonly number[]
  /** One for each id. 1 for the special tokens. */
  readonly weights: readonly number[]
}

/** Consecutive ids whose weight is below 1: from index `begin` up to, but not including, `end`. */
export interface Downweighted {
  readonly begin: number
  readonly end: number
  readonly weight: number
}

/** A tokenizer with its learned words. */
export interface TokenSource {
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'padTokenId'>
  /** The ids of all vectors of the learned word whose first id is `id`; `id` alone if no learned word begins with it. */
  idsOf(id: number): readonly number[]
  /** The text with a token for each vector of a learned word. */
  convert(text: string): string
}

/** The most tokens that the web UI moves to the next chunk, so that a chunk ends with a comma. */
const backtrack = 20

/**
 * Chunks as AUTOMATIC1111's web UI makes them: as many tokens as fit between the special tokens. A full chunk ends after its last comma
 * if the comma is among its last 20 tokens. BREAK ends a chunk. All vectors of a learned word are in one chunk. Learned words are found
 * whether they are written in upper or lower case.
 */
export function chunkTokens(text: string, words: TokenSource, length: number): readonly TokenChunk[] {
  const { tokenizer } = words
  const special = specialIds(tokenizer)
  const [comma] = plainIds(tokenizer, ',')
  const mostIds = length - 2
  const chunks: TokenChunk[] = []
  let ids: number[] = []
  let weights: number[] = []
  let lastComma = -1
  const close = (kept = ids.length) => {
    chunks.push(padded(ids.slice(0, kept), weights.slice(0, kept), special, length))
    ids = ids.slice(kept)
    weights = weights.slice(kept)
    lastComma = -1
  }
  for (const [index, section] of parseWeights(text, 'a1111').entries()) {
    if (index > 0) close()
    for (const { text: part, weight } of section) {
      for (const id of plainIds(tokenizer, part)) {
        if (id === comma) lastComma = ids.length
        else if (ids.length === mostIds && lastComma !== -1 && mostIds - lastComma <= backtrack) close(lastComma + 1)
        if (ids.length === mostIds) close()
        const own = words.idsOf(id)
        if (ids.length + own.length > mostIds) close()
        ids.push(...own)
        weights.push(...own.map(() => weight))
      }
    }
  }
  if (ids.length > 0 || chunks.length === 0) close()
  return chunks
}

/** A chunk without text. */
export function emptyChunk({ tokenizer }: TokenSource, length: number): TokenChunk {
  return padded([], [], specialIds(tokenizer), length)
}

/**
 * Tokenizes a prompt as compel does by default: into one chunk, which is cut if it is too long. Also returns the ranges of ids with weights
 * below 1, and the ids that were cut off.
 */
export function compelTokens(text: string, words: TokenSource, length: number) {
  const { tokenizer } = words
  const ids: number[] = []
  const weights: number[] = []
  const below: Downweighted[] = []
  const mostIds = length - 2
  for (const { text: part, weight } of parseWeights(text, 'compel').flat()) {
    const own = plainIds(tokenizer, convertLowered(part, words))
    // The start token comes first.
    const [begin, end] = [1 + ids.length, 1 + Math.min(ids.length + own.length, mostIds)]
    if (weight < 1 && begin < end) below.push({ begin, end, weight })
    ids.push(...own)
    weights.push(...own.map(() => weight))
  }
  const chunk = padded(ids.slice(0, mostIds), weights.slice(0, mostIds), specialIds(tokenizer), length)
  return { chunk, below, removed: ids.slice(mostIds) }
}

/** compel looks for learned words with several vectors among the tokens of a text, which its tokenizer has converted to lower case. */
export function convertLowered(text: string, words: Pick<TokenSource, 'convert'>): string {
  return words.convert(text.toLowerCase())
}

interface SpecialIds {
  readonly start: number
  readonly end: number
  readonly pad: number
}

function specialIds(tokenizer: TokenSource['tokenizer']): SpecialIds {
  const [start = 0, end = 0] = tokenizer.encode('')
  return { start, end, pad: tokenizer.padTokenId }
}

/** The ids of a text without the special tokens around it. */
function plainIds(tokenizer: TokenSource['tokenizer'], text: string): number[] {
  return tokenizer.encode(text).slice(1, -1)
}

function padded(ids: readonly number[], weights: readonly number[], special: SpecialIds, length: number): TokenChunk {
  const pads = length - 2 - ids.length
  return {
    inputIds: [special.start, ...ids, special.end, ...Array<number>(pads).fill(special.pad)],
    weights: [1, ...weights, 1, ...Array<number>(pads).fill(1)],
  }
}
