/**
 * What a `Replace` of tokenizer.json looks for: a text, or a regular expression. Expressions are written for Oniguruma by whoever made the
 * repository, so only what means the same everywhere and needs no going back is read: characters one after the other, or one character or
 * set of characters with how often (` {2,}`, `[\n\t]+`). All else is refused.
 */

import { UnsupportedError } from '../errors.js'

const maxLength = 100
const maxTimes = 100

/** `\n` and the like, or a mark that would mean something without the backslash. */
const escape = String.raw`\\[nrts\\^$.|?*+()[\]{}/-]`
const character = String.raw`(?:${escape}|[^\\^$.|?*+()[\]{}])`
const set = String.raw`\[(?:${escape}|[^\\^[\]&-])+\]`
const times = String.raw`\+|\{\d{1,3}(?:,\d{0,3})?\}`
const several = new RegExp(`^${character}+$`, 'u')
const one = new RegExp(`^(?<found>${character}|${set})(?<times>${times})?$`, 'u')
const inElement = new RegExp(`${escape}|[^[\\]\\\\]`, 'gu')

/** The characters that the escapes with a letter stand for; what White_Space is to Unicode, `\s` is to Oniguruma. */
const escapes: Readonly<Record<string, string>> = { n: '\\n', r: '\\r', t: '\\t', s: '\\p{White_Space}' }

/** Puts a content in place of each match; the text ends soon after `maxLength` UTF-16 units. */
export type Replace = (text: string, maxLength: number) => string

/** The function for a `pattern` and a `content`. @throws UnsupportedError `tokenizer-normalizer` */
export function readReplace(pattern: unknown, content: unknown): Replace {
  const fields = (typeof pattern === 'object' && pattern !== null ? pattern : {}) as Readonly<Record<string, unknown>>
  const { String: text, Regex: expression } = fields
  const written = text ?? expression
  if (typeof content !== 'string' || content.length > maxLength) throw unsupported('content', content)
  if (typeof written !== 'string' || written === '' || written.length > maxLength) throw unsupported('pattern', pattern)
  const source = typeof text === 'string' ? Array.from(text, literal).join('') : translate(written)
  if (source === null) throw unsupported('pattern', pattern)
  const compiled = new RegExp(source, 'gu')
  return (whole, most) => {
    let result = ''
    let at = 0
    for (const match of whole.matchAll(compiled)) {
      result += whole.slice(at, match.index) + content
      at = match.index + match[0].length
      if (result.length > most) return result
    }
    return result + whole.slice(at)
  }
}

/** The expression in JavaScript's words, or null. */
function translate(expression: string): string | null {
  if (several.test(expression)) return elements(expression).join('')
  const { found, times: often = '' } = one.exec(expression)?.groups ?? {}
  if (found === undefined) return null
  const [least = 1, most = least] = [...often.matchAll(/\d+/g)].map(Number)
  // {0} would match everywhere, and {3,2} is something else again.
  if (least < 1 || most < least || most > maxTimes) return null
  return `[${elements(found).join('')}]${often}`
}

function elements(expression: string): string[] {
  return (expression.match(inElement) ?? []).map((element) =>
    element.length > 1 && element.startsWith('\\')
      ? (escapes[element.charAt(1)] ?? literal(element.charAt(1)))
      : literal(element),
  )
}

function literal(letter: string): string {
  return `\\u{${(letter.codePointAt(0) ?? 0).toString(16)}}`
}

function unsupported(what: string, value: unknown): UnsupportedError {
  const shown = JSON.stringify(value)?.slice(0, 200) ?? 'undefined'
  return new UnsupportedError(
    'tokenizer-normalizer',
    `The tokenizer's Replace has ${what} ${shown}, which is not supported; supported are up to ${maxLength} characters, and as a regular expression one character or set with how often, such as " {2,}".`,
    { [what]: shown },
  )
}
