/**
 * JSON as Python reads it, from strangers. `JSON.parse` differs in ways that matter here: it keeps the last of two equal keys without a
 * word, it refuses `Infinity`, which diffusers writes into scheduler configs, and a megabyte of `{},{},…` takes a hundred for it. Here what
 * a file may become in memory is counted while it is read. Objects have no prototype, so a key such as `__proto__` is only a key.
 */

import { CheckpointError } from '../errors.js'

/** Objects nest no deeper than this: published files use four levels. */
const maxDepth = 64

/** Memory that the values of one file may take, in bytes. CLIP's tokenizer.json, with 49,408 words and as many pairs, takes 15 MB. */
const maxTreeBytes = 18_000_000

/** What values take in V8 with pointers of 64 bits, in bytes, room to grow included. A string has its characters on top. */
const cost = { object: 190, member: 64, indexMember: 300, array: 50, item: 16, number: 24, string: 32 } as const

/** Longest number, in characters. */
const maxDigits = 1000

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

const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const words: readonly (readonly [string, JsonValue])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]

const code = (character: string) => character.charCodeAt(0)
const [quote, backslash, comma, colon] = [code('"'), code('\\'), code(','), code(':')]
const [openBrace, closeBrace, openBracket, closeBracket] = [code('{'), code('}'), code('['), code(']')]
const ofNumbers = new Set(new TextEncoder().encode('+-.0123456789eE'))

/** Whether JavaScript keeps a member of this name as an item of a list. */
function isIndex(key: string): boolean {
  return key.length <= 10 && key === String(Number(key))
}

/** Whether `value` is a JSON object (neither null nor an array). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Parses a UTF-8 file.
 * @throws CheckpointError `json-too-large`, `json-too-complex`, `json-encoding`, `json-syntax`, `json-depth`, `json-duplicate-key`
 */
export function parseJson(bytes: Uint8Array, options: ParseJsonOptions): JsonValue {
  const { file, maxBytes, duplicateKeys } = options
  if (bytes.byteLength > maxBytes)
    throw new CheckpointError('json-too-large', `${file} is ${bytes.byteLength} bytes long; at most ${maxBytes} are read.`, {
      file,
      bytes: bytes.byteLength,
      allowed: maxBytes,
    })
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let at = 0
  let room = maxTreeBytes
  /** Items of all lists that are open: a list that grows by itself has room for 17 items from the first one on. */
  const items: JsonValue[] = []

  const syntax = (what: string) =>
    new CheckpointError('json-syntax', `${file} is not valid JSON: ${what} at byte ${at}.`, { file, at })
  const take = (count: number) => {
    room -= count
    if (room >= 0) return
    throw new CheckpointError(
      'json-too-complex',
      `${file} holds more values than ${maxTreeBytes} bytes of memory are enough for.`,
      {
        file,
        allowed: maxTreeBytes,
      },
    )
  }
  const skip = () => {
    for (let byte = bytes[at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; byte = bytes[at]) at += 1
  }
  const isWord = (word: string) => {
    for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word.charCodeAt(i)) return false
    return true
  }
  const decode = (begin: number, end: number): string => {
    try {
      return decoder.decode(bytes.subarray(begin, end))
    } catch (cause) {
      throw new CheckpointError('json-encoding', `${file} is not valid UTF-8.`, { file }, cause)
    }
  }

  const string = (): string => {
    const begin = at
    let end = at + 1
    let escaped = false
    let seen = 0
    for (let byte = bytes[end]; byte !== quote; byte = bytes[end]) {
      if (byte === undefined) throw syntax('a string that does not end')
      if (byte < 0x20) throw syntax('a control character in a string')
      if (byte === backslash) {
        escaped = true
        end += 1
      }
      seen |= byte
      end += 1
    }
    at = end + 1
    // One character outside Latin-1 makes all of them take two bytes; what has escapes is there twice for a while.
    take(cost.string + (end - begin) * (escaped ? 4 : seen >= 0x80 ? 2 : 1))
    if (!escaped) return decode(begin + 1, end)
    try {
      return JSON.parse(decode(begin, at)) as string
    } catch (error) {
      throw error instanceof CheckpointError ? error : syntax('a wrong escape in a string')
    }
  }

  const value = (depth: number): JsonValue => {
    if (depth > maxDepth)
      throw new CheckpointError('json-depth', `${file} nests deeper than ${maxDepth} levels.`, { file, allowed: maxDepth })
    skip()
    const first = bytes[at]
    if (first === openBrace) return object(depth)
    if (first === openBracket) return array(depth)
    if (first === quote) return string()
    for (const [word, result] of words) {
      if (isWord(word)) {
        at += word.length
        return result
      }
    }
    let end = at
    for (let byte = first; byte !== undefined && ofNumbers.has(byte); byte = bytes[end]) end += 1
    const text = decode(at, Math.min(end, at + maxDigits))
    if (end - at > maxDigits || !number.test(text))
      throw syntax(first === undefined ? 'an early end' : `an unexpected ${JSON.stringify(String.fromCharCode(first))}`)
    at = end
    take(cost.number)
    return Number(text)
  }

  const object = (depth: number): JsonObject => {
    take(cost.object)
    const result = Object.create(null) as Record<string, JsonValue>
    at += 1
    skip()
    if (bytes[at] === closeBrace) {
      at += 1
      return result
    }
    for (;;) {
      skip()
      if (bytes[at] !== quote) throw syntax('a key is missing')
      const key = string()
      skip()
      if (bytes[at] !== colon) throw syntax('a colon is missing')
      at += 1
      const item = value(depth + 1)
      if (duplicateKeys === 'refuse' && Object.hasOwn(result, key))
        throw new CheckpointError('json-duplicate-key', `${file} has the key ${JSON.stringify(key.slice(0, 200))} twice.`, {
          file,
          key: key.slice(0, 200),
        })
      if (isIndex(key)) {
        take(cost.indexMember)
        // A plain "1000" would make room for all the numbers below it.
        Object.defineProperty(result, key, { value: item, enumerable: true, configurable: true })
      } else {
        take(cost.member)
        result[key] = item
      }
      skip()
      const next = bytes[at]
      at += 1
      if (next === closeBrace) return result
      if (next !== comma) throw syntax('a comma or a closing brace is missing')
    }
  }

  const array = (depth: number): readonly JsonValue[] => {
    take(cost.array)
    const begin = items.length
    at += 1
    skip()
    if (bytes[at] === closeBracket) {
      at += 1
      return []
    }
    for (;;) {
      take(cost.item)
      items.push(value(depth + 1))
      skip()
      const next = bytes[at]
      at += 1
      if (next === closeBracket) return items.splice(begin)
      if (next !== comma) throw syntax('a comma or a closing bracket is missing')
    }
  }

  const result = value(0)
  skip()
  if (at !== bytes.length) throw syntax('something after the end')
  return result
}
