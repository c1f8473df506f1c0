/**
 * JSON as Python reads it, from strangers. `JSON.parse` differs in two ways that matter here: it keeps the last of two equal keys
 * without a word, and it refuses `Infinity`, which diffusers writes into scheduler configs. Objects have no prototype, so a key such
 * as `__proto__` is only a key.
 */

import { CheckpointError } from '../errors.js'

/** Objects nest no deeper than this: published files use four levels. */
const maxDepth = 64

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
export interface JsonObject {
  readonly [key: string]: JsonValue
}

export interface ParseJsonOptions {
  /** The file's name, for errors. */
  readonly file: string
  readonly maxBytes: number
  /** `last`: as Python does. `refuse`: an error. */
  readonly duplicateKeys: 'last' | 'refuse'
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const spaces = /[ \t\n\r]*/y
const words: readonly (readonly [string, JsonValue])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]

/** Whether `value` is a JSON object (neither null nor an array). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Parses a UTF-8 file. @throws CheckpointError `json-too-large`, `json-encoding`, `json-syntax`, `json-depth`, `json-duplicate-key` */
export function parseJson(bytes: Uint8Array, options: ParseJsonOptions): JsonValue {
  const { file, maxBytes, duplicateKeys } = options
  if (bytes.byteLength > maxBytes)
    throw new CheckpointError('json-too-large', `${file} is ${bytes.byteLength} bytes long; at most ${maxBytes} are read.`, {
      file,
      bytes: bytes.byteLength,
      allowed: maxBytes,
    })
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new CheckpointError('json-encoding', `${file} is not valid UTF-8.`, { file }, cause)
  }
  let at = 0

  const syntax = (what: string) =>
    new CheckpointError('json-syntax', `${file} is not valid JSON: ${what} at character ${at}.`, { file, at })
  const skip = () => {
    spaces.lastIndex = at
    spaces.test(text)
    at = spaces.lastIndex
  }

  const string = (): string => {
    const begin = at
    let end = at + 1
    let plain = true
    for (;;) {
      const code = text.charCodeAt(end)
      if (Number.isNaN(code)) throw syntax('a string that does not end')
      if (code === 0x22) break
      if (code === 0x5c) {
        plain = false
        end += 1
      } else if (code < 0x20) throw syntax('a control character in a string')
      end += 1
    }
    at = end + 1
    if (plain) return text.slice(begin + 1, end)
    try {
      return JSON.parse(text.slice(begin, at)) as string
    } catch {
      throw syntax('a wrong escape in a string')
    }
  }

  const value = (depth: number): JsonValue => {
    if (depth > maxDepth)
      throw new CheckpointError('json-depth', `${file} nests deeper than ${maxDepth} levels.`, { file, allowed: maxDepth })
    skip()
    const first = text[at]
    if (first === '{') return object(depth)
    if (first === '[') return array(depth)
    if (first === '"') return string()
    for (const [word, result] of words) {
      if (text.startsWith(word, at)) {
        at += word.length
        return result
      }
    }
    number.lastIndex = at
    const match = number.exec(text)
    if (!match) throw syntax(first === undefined ? 'an early end' : `an unexpected ${JSON.stringify(first)}`)
    at = number.lastIndex
    return Number(match[0])
  }

  const object = (depth: number): JsonObject => {
    const result = Object.create(null) as Record<string, JsonValue>
    at += 1
    skip()
    if (text[at] === '}') {
      at += 1
      return result
    }
    for (;;) {
      skip()
      if (text[at] !== '"') throw syntax('a key is missing')
      const key = string()
      skip()
      if (text[at] !== ':') throw syntax('a colon is missing')
      at += 1
      const item = value(depth + 1)
      if (duplicateKeys === 'refuse' && Object.hasOwn(result, key))
        throw new CheckpointError('json-duplicate-key', `${file} has the key ${JSON.stringify(key.slice(0, 200))} twice.`, {
          file,
          key: key.slice(0, 200),
        })
      result[key] = item
      skip()
      const next = text[at]
      at += 1
      if (next === '}') return result
      if (next !== ',') throw syntax('a comma or a closing brace is missing')
    }
  }

  const array = (depth: number): readonly JsonValue[] => {
    const result: JsonValue[] = []
    at += 1
    skip()
    if (text[at] === ']') {
      at += 1
      return result
    }
    for (;;) {
      result.push(value(depth + 1))
      skip()
      const next = text[at]
      at += 1
      if (next === ']') return result
      if (next !== ',') throw syntax('a comma or a closing bracket is missing')
    }
  }

  const result = value(0)
  skip()
  if (at !== text.length) throw syntax('something after the end')
  return result
}
