/**
 * Parses untrusted JSON as Python does. `JSON.parse` is not used for three reasons: it cannot refuse equal keys in an object, it rejects
 * `Infinity`, which diffusers writes into scheduler configs, and it turns one megabyte of `{},{},…` into a hundred megabytes of memory.
 * This parser counts the memory that the values take while it reads. Its objects have no prototype, so a key such as `__proto__` is only a
 * key.
 */

import { CheckpointError, isAquatintError } from '../errors.js'
import { knownContentError } from './known-content.js'

/** The deepest nesting of objects and arrays. Published files use four levels. */
const maxDepth = 64

/** The most memory that the values of one file may take unless the caller allows more, in bytes. CLIP's tokenizer.json, with 49,408 words and as many pairs, takes 15 MB. */
const maxTreeBytes = 18_000_000

/** Bytes of each value in V8 with 64-bit pointers, including spare capacity. The characters of a string count on top. */
const cost = { object: 190, member: 64, indexMember: 300, array: 50, item: 16, number: 24, string: 32 } as const

/** The longest number, in characters. */
const maxDigits = 1000

/** Any JSON value. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** How to parse a file. */
export interface ParseJsonOptions {
  /** The file's name, for errors. */
  readonly file: string
  /** The longest file that is parsed. */
  readonly maxBytes: number
  /** The most memory that its values may take, in bytes. Default 18 MB. */
  readonly maxTreeBytes?: number | undefined
  /** What to do with two equal keys in an object: keep the last one, as Python does, or fail. */
  readonly duplicateKeys: 'last' | 'refuse'
}

const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
/** The literals of JSON, and the three numbers that Python adds. */
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
const numberBytes = new Set(new TextEncoder().encode('+-.0123456789eE'))

/** Whether JavaScript treats a member with this name as an array element. */
function isIndex(key: string): boolean {
  return key.length <= 10 && key === String(Number(key))
}

/** Whether `value` is a JSON object (neither null nor an array). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Parses a UTF-8 file, which may begin with a byte order mark.
 * @throws CheckpointError `lfs-pointer`, `html-page` and others for a file that holds something else, see known-content.ts; `json-too-large`, `json-too-complex`, `json-encoding`, `json-syntax`, `json-depth`, `json-duplicate-key`
 */
export function parseJson(bytes: Uint8Array, options: ParseJsonOptions): JsonValue {
  const { file, maxBytes: allowed } = options
  if (bytes.byteLength > allowed) {
    const message = `${file} is ${bytes.byteLength} bytes long; at most ${allowed} are read.`
    throw new CheckpointError('json-too-large', message, { file, bytes: bytes.byteLength, allowed })
  }
  try {
    return new JsonParser(bytes, options).parse()
  } catch (error) {
    throw isAquatintError(error, 'json-syntax', 'json-encoding') ? (knownContentError(bytes, file) ?? error) : error
  }
}

/** A recursive descent parser. Each `#read…` method reads the value at the current position and stops right behind it. */
class JsonParser {
  readonly #bytes: Uint8Array
  readonly #file: string
  readonly #rejectsDuplicates: boolean
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  #at = 0
  /** Bytes of memory that further values may take. */
  #memoryLeft: number
  readonly #maxTreeBytes: number
  /** The items of all open arrays, one array after the other. Separate arrays would each reserve space for 17 items with the first one. */
  readonly #items: JsonValue[] = []

  constructor(bytes: Uint8Array, { file, duplicateKeys, maxTreeBytes: allowed = maxTreeBytes }: ParseJsonOptions) {
    this.#maxTreeBytes = allowed
    this.#memoryLeft = allowed
    this.#bytes = bytes
    this.#file = file
    this.#rejectsDuplicates = duplicateKeys === 'refuse'
  }

  parse(): JsonValue {
    // The byte order mark of UTF-8, which some editors write.
    if (this.#bytes[0] === 0xef && this.#bytes[1] === 0xbb && this.#bytes[2] === 0xbf) this.#at = 3
    const result = this.#readValue(0)
    this.#skipSpace()
    if (this.#at !== this.#bytes.length) throw this.#syntaxError('something after the end')
    return result
  }

  #readValue(depth: number): JsonValue {
    if (depth > maxDepth) {
      const message = `${this.#file} nests deeper than ${maxDepth} levels.`
      throw new CheckpointError('json-depth', message, { file: this.#file, allowed: maxDepth })
    }
    this.#skipSpace()
    const first = this.#bytes[this.#at]
    if (first === openBrace) return this.#readObject(depth)
    if (first === openBracket) return this.#readArray(depth)
    if (first === quote) return this.#readString()
    for (const [word, value] of words) {
      if (this.#startsWith(word)) {
        this.#at += word.length
        return value
      }
    }
    return this.#readNumber()
  }

  #readObject(depth: number): JsonObject {
    this.#countMemory(cost.object)
    const result = Object.create(null) as Record<string, JsonValue>
    this.#at += 1
    this.#skipSpace()
    if (this.#bytes[this.#at] === closeBrace) {
      this.#at += 1
      return result
    }
    for (;;) {
      this.#skipSpace()
      if (this.#bytes[this.#at] !== quote) throw this.#syntaxError('a key is missing')
      const key = this.#readString()
      this.#skipSpace()
      if (this.#bytes[this.#at] !== colon) throw this.#syntaxError('a colon is missing')
      this.#at += 1
      this.#setMember(result, key, this.#readValue(depth + 1))
      this.#skipSpace()
      const next = this.#bytes[this.#at]
      this.#at += 1
      if (next === closeBrace) return result
      if (next !== comma) throw this.#syntaxError('a comma or a closing brace is missing')
    }
  }

  #setMember(object: Record<string, JsonValue>, key: string, value: JsonValue): void {
    if (this.#rejectsDuplicates && Object.hasOwn(object, key)) {
      const shown = key.slice(0, 200)
      const message = `${this.#file} has the key ${JSON.stringify(shown)} twice.`
      throw new CheckpointError('json-duplicate-key', message, { file: this.#file, key: shown })
    }
    if (isIndex(key)) {
      this.#countMemory(cost.indexMember)
      // Assigning to the key "1000" would reserve space for all array elements below it.
      Object.defineProperty(object, key, { value, enumerable: true, configurable: true })
    } else {
      this.#countMemory(cost.member)
      object[key] = value
    }
  }

  #readArray(depth: number): readonly JsonValue[] {
    this.#countMemory(cost.array)
    const begin = this.#items.length
    this.#at += 1
    this.#skipSpace()
    if (this.#bytes[this.#at] === closeBracket) {
      this.#at += 1
      return []
    }
    for (;;) {
      this.#countMemory(cost.item)
      this.#items.push(this.#readValue(depth + 1))
      this.#skipSpace()
      const next = this.#bytes[this.#at]
      this.#at += 1
      if (next === closeBracket) return this.#items.splice(begin)
      if (next !== comma) throw this.#syntaxError('a comma or a closing bracket is missing')
    }
  }

  #readString(): string {
    const bytes = this.#bytes
    const begin = this.#at
    let end = begin + 1
    let isEscaped = false
    /** All bytes of the string, combined with "or". */
    let seen = 0
    for (let byte = bytes[end]; byte !== quote; byte = bytes[end]) {
      if (byte === undefined) {
        this.#at = end
        throw this.#syntaxError('a string that does not end')
      }
      if (byte < 0x20) throw this.#syntaxError('a control character in a string')
      if (byte === backslash) {
        isEscaped = true
        end += 1
      }
      seen |= byte
      end += 1
    }
    this.#at = end + 1
    // With one character outside Latin-1 every character takes two bytes. A string with escapes exists twice for a while.
    this.#countMemory(cost.string + (end - begin) * (isEscaped ? 4 : seen >= 0x80 ? 2 : 1))
    if (!isEscaped) return this.#decode(begin + 1, end)
    try {
      return JSON.parse(this.#decode(begin, this.#at)) as string
    } catch (error) {
      throw error instanceof CheckpointError ? error : this.#syntaxError('a wrong escape in a string')
    }
  }

  #readNumber(): number {
    const begin = this.#at
    const first = this.#bytes[begin]
    let end = begin
    for (let byte = first; byte !== undefined && numberBytes.has(byte); byte = this.#bytes[end]) end += 1
    const text = this.#decode(begin, Math.min(end, begin + maxDigits))
    if (end - begin > maxDigits || !number.test(text)) {
      const found = first === undefined ? 'an early end' : `an unexpected ${JSON.stringify(String.fromCharCode(first))}`
      throw this.#syntaxError(found)
    }
    this.#at = end
    this.#countMemory(cost.number)
    return Number(text)
  }

  #skipSpace(): void {
    const bytes = this.#bytes
    for (let byte = bytes[this.#at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; byte = bytes[this.#at])
      this.#at += 1
  }

  #startsWith(word: string): boolean {
    for (let i = 0; i < word.length; i++) if (this.#bytes[this.#at + i] !== word.charCodeAt(i)) return false
    return true
  }

  /** @throws CheckpointError `json-encoding` */
  #decode(begin: number, end: number): string {
    try {
      return this.#decoder.decode(this.#bytes.subarray(begin, end))
    } catch (cause) {
      throw new CheckpointError('json-encoding', `${this.#file} is not valid UTF-8.`, { file: this.#file }, cause)
    }
  }

  /** @throws CheckpointError `json-too-complex` */
  #countMemory(bytes: number): void {
    this.#memoryLeft -= bytes
    if (this.#memoryLeft >= 0) return
    const message = `${this.#file} has so many values that they take more than ${this.#maxTreeBytes} bytes of memory.`
    throw new CheckpointError('json-too-complex', message, { file: this.#file, allowed: this.#maxTreeBytes })
  }

  #syntaxError(what: string): CheckpointError {
    const [file, at] = [this.#file, this.#at]
    if (at >= this.#bytes.length)
      return new CheckpointError(
        'json-syntax',
        `${file} is not valid JSON: it ends at byte ${at}, in the middle of a value. It was cut short: download or copy it again.`,
        { file, at },
      )
    return new CheckpointError('json-syntax', `${file} is not valid JSON: ${what} at byte ${at}.`, { file, at })
  }
}
