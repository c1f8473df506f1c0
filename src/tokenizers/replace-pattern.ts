/**
 * The pattern of a `Replace` normalizer in tokenizer.json: a text, or a regular expression. Expressions come from untrusted repositories and are
 * written for Oniguruma. So only expressions that mean the same in JavaScript and need no backtracking are accepted: a sequence of characters, or
 * one character or set with a quantifier (` {2,}`, `[\n\t]+`). All others are refused.
 */

import { UnsupportedError } from '../errors.js'

const maxLength = 100
const maxTimes = 100

/** An escape such as `\n`, or an escaped character that has a meaning without the backslash. */
const escape = String.raw`\\[nrts\\^$.|?*+()[\]{}/-]`
const character = String.raw`(?:${escape}|[^\\^$.|?*+()[\]{}])`
const set = String.raw`\[(?:${escape}|[^\\^[\]&-])+\]`
const times = String.raw`\+|\{\d{1,3}(?:,\d{0,3})?\}`
const several = new RegExp(`^${character}+$`, 'u')
const one = new RegExp(`^(?<found>${character}|${set})(?<times>${times})?$`, 'u')
const inElement = new RegExp(`${escape}|[^[\\]\\\\]`, 'gu')

/** The characters of the escapes with a letter. Oniguruma's `\s` is Unicode's White_Space. */
const escapes: Readonly<Record<string, string>> = { n: '\\n', r: '\\r', t: '\\t', s: '\\p{White_Space}' }

/** Replaces each match. Stops soon after `maxLength` UTF-16 units. */
export type Replace = (text: string, maxLength: number) => string

/** Returns the function that replaces `pattern` by `content`. @throws UnsupportedError `tokenizer-normalizer` */
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

/** Translates the expression to JavaScript; null if it is not accepted. */
function translate(expression: string): string | null {
  if (several.test(expression)) return elements(expression).join('')
  const { found, times: often = '' } = one.exec(expression)?.groups ?? {}
  if (found === undefined) return null
  const [least = 1, most = least] = [...often.matchAll(/\d+/g)].map(Number)
  // {0} would match everywhere, and {3,2} has another meaning in Oniguruma.
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
