/** The `normalizer` in tokenizer.json of a unigram tokenizer: how a text changes before it is split into words. */

import { UnsupportedError } from '../errors.js'
import { PrecompiledCharsmap } from './precompiled-charsmap.js'
import { readReplace } from './replace-pattern.js'

type Json = Readonly<Record<string, unknown>>
type Normalize = (text: string) => string

const maxSteps = 16

/** The longest normalized text, in UTF-16 units. It is limited because each step can turn one character into a hundred. */
const maxLength = 2_000_000

/** The Rust library's normalizers, by their type. */
const readers: Readonly<Partial<Record<string, (step: Json) => Normalize>>> = {
  Precompiled: (step) => {
    const map = new PrecompiledCharsmap(step['precompiled_charsmap'])
    return (text) => map.normalize(text, maxLength)
  },
  Strip: (step) => (text) => {
    const rest = step['strip_left'] === true ? text.replace(/^\p{White_Space}+/u, '') : text
    return step['strip_right'] === true ? trimEnd(rest) : rest
  },
  Replace: (step) => {
    const replace = readReplace(step['pattern'], step['content'])
    return (text) => replace(text, maxLength)
  },
  Prepend: (step) => {
    const prepended = step['prepend']
    if (typeof prepended !== 'string') throw unsupported(step)
    return (text) => (text === '' ? '' : prepended + text)
  },
  NFC: () => (text) => text.normalize('NFC'),
  NFD: () => (text) => text.normalize('NFD'),
  NFKC: () => (text) => text.normalize('NFKC'),
  NFKD: () => (text) => text.normalize('NFKD'),
  // Rust lowercases each character alone. JavaScript would lowercase this letter to a final sigma at the end of a word.
  Lowercase: () => (text) => text.replaceAll('Σ', 'σ').toLowerCase(),
}

/** Returns the function for a `normalizer`, which may be null. @throws UnsupportedError `tokenizer-normalizer`, CheckpointError `tokenizer-normalizer` */
export function unigramNormalizer(normalizer: unknown): Normalize {
  const steps: Normalize[] = []
  const read = (value: unknown, depth: number) => {
    if (value === null || value === undefined) return
    const step = value as Json
    const { type, normalizers } = step
    if (depth > maxSteps || steps.length >= maxSteps) throw unsupported(step)
    if (type === 'Sequence' && Array.isArray(normalizers)) {
      for (const inner of normalizers) read(inner, depth + 1)
      return
    }
    const reader = typeof type === 'string' && Object.hasOwn(readers, type) ? readers[type] : undefined
    if (reader === undefined) throw unsupported(step)
    steps.push(reader(step))
  }
  read(normalizer, 0)
  return (text) => steps.reduce((result, step) => step(result).slice(0, maxLength), text)
}

/** Removes white space at the end. A regular expression would take quadratic time on long runs of blanks inside the text. */
function trimEnd(text: string): string {
  let end = text.length
  while (end > 0 && /\p{White_Space}/u.test(text.charAt(end - 1))) end--
  return text.slice(0, end)
}

function unsupported({ type }: Json): UnsupportedError {
  const supported = ['Sequence', ...Object.keys(readers)]
  const shown = JSON.stringify(type)?.slice(0, 100) ?? 'undefined'
  return new UnsupportedError(
    'tokenizer-normalizer',
    `The tokenizer's normalizer ${shown} is not supported; supported: ${supported.join(', ')}, up to ${maxSteps} of them.`,
    { normalizer: shown, supported },
  )
}
