/**
 * The two ways to write weights into a prompt: `(word:1.3)` as in AUTOMATIC1111's web UI, and `word++` or `(some words)1.3` as in the Python
 * library compel. Pure: from a text to weighted texts.
 */

import type { PromptWeighting } from '../types.js'

/** A part of a prompt with its weight; 1 changes nothing. */
export interface WeightedText {
  readonly text: string
  readonly weight: number
}

/** Parses a prompt. The outer list has one entry more than the prompt has the word BREAK, which ends a chunk of tokens (`a1111` only). */
export function parseWeights(text: string, weighting: PromptWeighting): readonly (readonly WeightedText[])[] {
  return weighting === 'a1111' ? parseBrackets(text) : [joinEqual(parseSuffixes(text))]
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

/** `(x)` is 1.1, `[x]` 1 / 1.1, `(x:1.5)` 1.5, `\(` a bracket; brackets in brackets multiply. A bracket that is not closed counts to the end. */
function parseBrackets(text: string): readonly (readonly WeightedText[])[] {
  const parts: Part[] = []
  const opened = { round: [] as number[], square: [] as number[] }
  const multiply = (first: number, factor: number) => {
    for (const part of parts.slice(first)) part.weight *= factor
  }
  for (let at = 0; at < text.length; at++) {
    const sign = text.charAt(at)
    const next = text.charAt(at + 1)
    if (sign === '\\' && next !== '' && '()[]\\'.includes(next)) {
      parts.push({ text: next, weight: 1 })
      at++
      continue
    }
    const [number, value] = sign === ':' ? (/^:\s*([+-]?[\d.]+)\s*\)/.exec(text.slice(at, at + 40)) ?? []) : []
    if (sign === '(') opened.round.push(parts.length)
    else if (sign === '[') opened.square.push(parts.length)
    else if (number !== undefined && Number.isFinite(Number(value)) && opened.round.length > 0) {
      multiply(opened.round.pop() ?? 0, Number(value))
      at += number.length - 1
    } else if (sign === ')' && opened.round.length > 0) multiply(opened.round.pop() ?? 0, 1.1)
    else if (sign === ']' && opened.square.length > 0) multiply(opened.square.pop() ?? 0, 1 / 1.1)
    else parts.push({ text: sign, weight: 1 })
  }
  for (const first of opened.round) multiply(first, 1.1)
  for (const first of opened.square) multiply(first, 1 / 1.1)
  const sections: WeightedText[][] = [[]]
  for (const { text: joined, weight } of joinEqual(parts, '')) {
    const [first = '', ...others] = joined.split(/\s*\bBREAK\b\s*/)
    sections.at(-1)?.push({ text: first, weight })
    for (const other of others) sections.push([{ text: other, weight }])
  }
  return sections
}

/** `word+` is 1.1, `word--` 0.9², `(some words)1.5` 1.5, `"some words"+` 1.1; inside each other they multiply. */
function parseSuffixes(text: string): WeightedText[] {
  const parts: WeightedText[] = []
  let plain = ''
  const add = (weighted: string, weight: number) => {
    if (weighted !== '') parts.push({ text: weighted, weight })
  }
  const flush = () => {
    add(plain, 1)
    plain = ''
  }
  for (let at = 0; at < text.length;) {
    const sign = text.charAt(at)
    const end = sign === '(' ? closing(text, at) : sign === '"' ? text.indexOf('"', at + 1) : -1
    if (sign === '\\' && at + 1 < text.length) {
      plain += text.charAt(at + 1)
      at += 2
    } else if (end > at) {
      const inner = text.slice(at + 1, end)
      const [suffix, factor] = readSuffix(text.slice(end + 1, end + 40), /^(?:\++|-+|\d*\.?\d+)/)
      flush()
      for (const part of sign === '(' ? parseSuffixes(inner) : [{ text: inner, weight: 1 }]) add(part.text, part.weight * factor)
      at = end + 1 + suffix.length
    } else if (sign === '+' || sign === '-') {
      const [suffix, factor] = readSuffix(text.slice(at), /^(?:\++|-+)(?=[\s,.;:!?)]|$)/)
      const [word = ''] = /[^\s]+$/.exec(plain) ?? []
      if (factor === 1 || word === '') plain += suffix === '' ? sign : suffix
      else {
        plain = plain.slice(0, plain.length - word.length)
        flush()
        add(word, factor)
      }
      at += Math.max(suffix.length, 1)
    } else {
      plain += sign
      at++
    }
  }
  flush()
  return parts
}

/** A suffix at the beginning of a text, and the factor that it stands for: 1 without one. */
function readSuffix(text: string, pattern: RegExp): readonly [string, number] {
  const [suffix = ''] = pattern.exec(text) ?? []
  if (suffix.startsWith('+')) return [suffix, 1.1 ** suffix.length]
  if (suffix.startsWith('-')) return [suffix, 0.9 ** suffix.length]
  return [suffix, suffix === '' ? 1 : Number(suffix)]
}

/** The index of the bracket that closes the one at `open`, or -1. */
function closing(text: string, open: number): number {
  let depth = 0
  for (let at = open; at < text.length; at++) {
    const sign = text.charAt(at)
    if (sign === '\\') at++
    else if (sign === '(') depth++
    else if (sign === ')' && --depth === 0) return at
  }
  return -1
}

/** Neighbours of equal weight as one part. */
function joinEqual(parts: readonly WeightedText[], between = ' '): WeightedText[] {
  const joined: Part[] = []
  for (const { text, weight } of parts) {
    const last = joined.at(-1)
    if (last?.weight === weight) last.text += between + text
    else joined.push({ text, weight })
  }
  return joined
}
