/**
 * The `pre_tokenizer` in tokenizer.json of a unigram tokenizer: how a normalized text is split into words, and where "▁", which stands for the
 * space before a word, is inserted. It supports the forms that versions of transformers have written for T5.
 */

import { UnsupportedError } from '../errors.js'

type Json = Readonly<Record<string, unknown>>

/** A piece of text, and whether it is at the beginning of the text. */
interface Piece {
  readonly text: string
  readonly first: boolean
}
type Step = (piece: Piece) => Piece[]

/** Returns the words of a section; none is empty. `first` says whether the section is at the beginning of the text. */
export type PreTokenize = (text: string, first: boolean) => string[]

const maxSteps = 8

/** The pre-tokenizers that transformers' T5Tokenizer uses if tokenizer.json names none. */
const t5PreTokenizer = {
  type: 'Sequence',
  pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }],
}

/** Returns the function for a `pre_tokenizer`, or T5Tokenizer's own if there is none. @throws UnsupportedError `tokenizer-pre-tokenizer` */
export function unigramPreTokenizer(preTokenizer: unknown): PreTokenize {
  const { type, pretokenizers } = (preTokenizer ?? t5PreTokenizer) as Json
  const listed: readonly unknown[] = type === 'Sequence' && Array.isArray(pretokenizers) ? pretokenizers : [preTokenizer]
  if (listed.length > maxSteps) throw unsupported(`Sequence of ${listed.length}`)
  const steps = listed.map((step) => readStep((step ?? {}) as Json))
  // Without a mark at the beginning of each word, the library's model would merge the unknown characters of adjacent words into one id.
  if (!listed.some((step) => (step as Json)['type'] === 'Metaspace')) throw unsupported('without Metaspace')
  return (text, first) =>
    steps.reduce((pieces: Piece[], step) => pieces.flatMap((piece) => step(piece)), [{ text, first }]).map((piece) => piece.text)
}

function readStep(step: Json): Step {
  const { type } = step
  if (type === 'WhitespaceSplit') return splitWhitespace
  if (type === 'Metaspace') return readMetaspace(step)
  throw unsupported(JSON.stringify(type)?.slice(0, 100) ?? 'undefined')
}

function splitWhitespace({ text, first }: Piece): Piece[] {
  return pieces(text.split(/\p{White_Space}+/u), first)
}

/**
 * The Rust library's Metaspace: it replaces blanks by its mark, inserts one at the beginning unless there is one, and begins a word at each mark. Old files
 * have `add_prefix_space` alone, later ones also `prepend_scheme`, and current ones `prepend_scheme` and `split`.
 */
function readMetaspace({ replacement, add_prefix_space: prefix, prepend_scheme: scheme, split }: Json): Step {
  const prepend = scheme ?? (prefix === false ? 'never' : 'always')
  const known = prepend === 'always' || prepend === 'first' || prepend === 'never'
  if (typeof replacement !== 'string' || !/^.$/su.test(replacement))
    throw unsupported(`Metaspace with replacement ${JSON.stringify(replacement)?.slice(0, 100)}`)
  if (!known || (prefix === false && prepend !== 'never'))
    throw unsupported(
      `Metaspace with prepend_scheme ${JSON.stringify(scheme)?.slice(0, 100)} and add_prefix_space ${prefix === true}`,
    )
  return ({ text, first }) => {
    const marked = text.replaceAll(' ', replacement)
    const prepended = text !== '' && (prepend === 'always' || (prepend === 'first' && first)) && !marked.startsWith(replacement)
    const whole = prepended ? replacement + marked : marked
    if (split === false) return pieces([whole], first)
    const [head = '', ...rest] = whole.split(replacement)
    return pieces([head, ...rest.map((part) => replacement + part)], first)
  }
}

function pieces(texts: readonly string[], first: boolean): Piece[] {
  return texts.map((text, at) => ({ text, first: first && at === 0 })).filter(({ text }) => text !== '')
}

function unsupported(what: string): UnsupportedError {
  const supported = ['Sequence', 'WhitespaceSplit', 'Metaspace']
  return new UnsupportedError(
    'tokenizer-pre-tokenizer',
    `The tokenizer's pre-tokenizer ${what} is not supported; supported: ${supported.join(', ')}.`,
    { preTokenizer: what, supported },
  )
}
