/**
 * The two ways to write weights into a prompt: `(word:1.3)` as in AUTOMATIC1111's web UI, which is read here, and `word++` or `(some words)1.3` as
 * in the Python library compel. Pure: from a text to weighted texts.
 */

import type { PromptWeighting } from '../types.js'
import { parseCompel, type WeightedText } from './compel-weights.js'

/** Parses a prompt. Each list but the first begins behind a BREAK, which ends a chunk of tokens (`a1111` only). */
export function parseWeights(text: string, weighting: PromptWeighting): readonly (readonly WeightedText[])[] {
  return weighting === 'a1111' ? parseBrackets(text) : [parseCompel(text)]
}

/** The text without the signs that give weights, for text encoders that take none. */
export function withoutWeights(text: string, weighting: PromptWeighting): string {
  return parseWeights(text, weighting)
    .map((section) => section.map((part) => part.text).join(weighting === 'a1111' ? '' : ' '))
    .join(' ')
    .trim()
}

interface Part {
  text: string
  weight: number
}

/** The word that ends a chunk, with the white space around it; a letter or digit beside it makes it part of a longer word. */
const breakPattern = /\s*(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])\s*/u
/** The weight by which the web UI marks a BREAK. */
const breakWeight = -1

/**
 * The weight of x is 1.1 in `(x)`, 1 / 1.1 in `[x]`, and 1.5 in `(x:1.5)`. The weights of nested brackets multiply. `\(` is a literal
 * bracket, `\\` a backslash; any other backslash is removed. A bracket that is not closed is closed at the end of the text. A BREAK inside
 * brackets is a word, as in the web UI, which marks a BREAK by a weight that brackets would multiply.
 */
function parseBrackets(text: string): readonly (readonly WeightedText[])[] {
  const parts: Part[] = []
  const opened = { round: [] as number[], square: [] as number[] }
  const multiply = (first: number, factor: number) => {
    for (const part of parts.slice(first)) part.weight *= factor
  }
  const add = (plain: string) => {
    for (const [index, part] of plain.split(breakPattern).entries()) {
      if (index > 0) parts.push({ text: 'BREAK', weight: breakWeight })
      parts.push({ text: part, weight: 1 })
    }
  }
  for (let at = 0; at < text.length; at++) {
    const sign = text.charAt(at)
    const [number, value] = sign === ':' ? (/^:\s*([+-]?[\d.]+)\s*\)/.exec(text.slice(at, at + 40)) ?? []) : []
    if (sign === '\\') {
      const next = text.charAt(at + 1)
      const escapes = next !== '' && '()[]\\'.includes(next)
      parts.push({ text: escapes ? next : '', weight: 1 })
      if (escapes) at++
    } else if (sign === '(') opened.round.push(parts.length)
    else if (sign === '[') opened.square.push(parts.length)
    else if (number !== undefined && Number.isFinite(Number(value)) && opened.round.length > 0) {
      multiply(opened.round.pop() ?? 0, Number(value))
      at += number.length - 1
    } else if (sign === ')' && opened.round.length > 0) multiply(opened.round.pop() ?? 0, 1.1)
    else if (sign === ']' && opened.square.length > 0) multiply(opened.square.pop() ?? 0, 1 / 1.1)
    else {
      const [plain = sign] = /^[^\\()[\]:]+/.exec(text.slice(at)) ?? []
      add(plain)
      at += plain.length - 1
    }
  }
  for (const first of opened.round) multiply(first, 1.1)
  for (const first of opened.square) multiply(first, 1 / 1.1)
  const sections: WeightedText[][] = [[]]
  for (const part of joinEqual(parts)) {
    if (part.text === 'BREAK' && part.weight === breakWeight) sections.push([])
    else sections.at(-1)?.push(part)
  }
  return sections
}

/** Joins neighbouring parts of equal weight. */
function joinEqual(parts: readonly Part[]): readonly WeightedText[] {
  const joined: Part[] = []
  for (const { text, weight } of parts) {
    const last = joined.at(-1)
    if (last?.weight === weight) last.text += text
    else joined.push({ text, weight })
  }
  return joined
}
