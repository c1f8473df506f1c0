/**
 * How transformers 5's T5Tokenizer prepares a text: it replaces characters by SentencePiece's table, splits the text at white space, and
 * puts the mark "▁" before each word. It reads only the table from tokenizer.json, and ignores everything else in that file's normalizer,
 * pre-tokenizer and post-processor.
 */

import { PrecompiledCharsmap } from './precompiled-charsmap.js'

type Json = Readonly<Record<string, unknown>>

/** Stands for the space before a word. */
const mark = '▁'

/** The longest normalized text, in UTF-16 units: the table can turn one character into many. */
const maxLength = 2_000_000

/**
 * Returns the function that replaces characters by the table of the first `Precompiled` in a tokenizer.json's `normalizer`, which may be
 * a Sequence. If there is none, the function returns the same text.
 * @throws CheckpointError `tokenizer-normalizer` for a broken table
 */
export function t5Normalizer(normalizer: unknown): (text: string) => string {
  const { type, normalizers } = (typeof normalizer === 'object' && normalizer !== null ? normalizer : {}) as Json
  const listed: readonly unknown[] = type === 'Sequence' && Array.isArray(normalizers) ? normalizers : [normalizer]
  const steps = listed.filter((step): step is Json => typeof step === 'object' && step !== null)
  const table = steps.find((step) => step['type'] === 'Precompiled' && 'precompiled_charsmap' in step)
  if (table === undefined) return (text) => text
  const map = new PrecompiledCharsmap(table['precompiled_charsmap'])
  return (text) => map.normalize(text, maxLength)
}

/**
 * The words of a normalized text, without empty ones. The text is split at white space, each part that does not begin with a mark gets one,
 * and the parts are split before each mark.
 */
export function t5Words(text: string): string[] {
  return text
    .split(/\p{White_Space}+/u)
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [head = '', ...rest] = (part.startsWith(mark) ? part : mark + part).split(mark)
      return [head, ...rest.map((word) => mark + word)].filter((word) => word !== '')
    })
}
