/**
 * SentencePiece's normalizer as Hugging Face's Rust library runs it ("Precompiled" in tokenizer.json). The replacements are a double-array
 * trie over UTF-8 bytes and a block of zero-terminated strings. The normalizer looks up each grapheme of less than six bytes as a whole; if
 * the grapheme is longer or has no match, the normalizer looks up the grapheme's characters one by one. The match is the shortest prefix
 * that the trie contains, and its replacement takes the place of everything that was looked up. Source: SentencePiece's `normalizer.cc`,
 * darts-clone, the crate spm_precompiled.
 */

import { CheckpointError } from '../errors.js'

const maxMapBytes = 8_000_000

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })
const pieceLength = 256

/** The replacement table of a `precompiled_charsmap`. */
export class PrecompiledCharsmap {
  readonly #units: Uint32Array
  readonly #strings: Uint8Array
  readonly #encoder = new TextEncoder()
  readonly #decoder = new TextDecoder()

  /** @throws CheckpointError `tokenizer-normalizer` */
  constructor(base64: unknown) {
    if (typeof base64 !== 'string') throw broken('it is not a string')
    const blob = decodeBase64(base64)
    if (blob.byteLength < 8) throw broken('it is too short')
    const size = new DataView(blob.buffer).getUint32(0, true)
    if (size % 4 !== 0 || size === 0 || 4 + size > blob.byteLength)
      throw broken(`its trie is ${size} bytes long; allowed are multiples of 4 up to ${blob.byteLength - 4}`)
    this.#units = new Uint32Array(blob.buffer.slice(4, 4 + size))
    this.#strings = blob.subarray(4 + size)
  }

  /** Normalizes a text. Stops once the result exceeds `maxLength` UTF-16 units: one replacement can be as long as the whole table. */
  normalize(text: string, maxLength: number): string {
    let result = ''
    for (const segment of graphemes(text)) {
      if (result.length > maxLength) break
      const bytes = this.#encoder.encode(segment)
      const whole = bytes.byteLength < 6 ? this.#replacement(bytes) : null
      if (whole !== null) {
        result += whole
        continue
      }
      for (const character of segment) {
        if (result.length > maxLength) break
        result += this.#replacement(this.#encoder.encode(character)) ?? character
      }
    }
    return result
  }

  #replacement(bytes: Uint8Array): string | null {
    const begin = this.#firstMatch(bytes)
    if (begin === null) return null
    const end = this.#strings.indexOf(0, begin)
    return this.#decoder.decode(this.#strings.subarray(begin, end < 0 ? undefined : end))
  }

  /** Returns the value of the shortest prefix of `bytes` that the trie contains. */
  #firstMatch(bytes: Uint8Array): number | null {
    let node = offsetOf(this.#units[0] ?? 0)
    for (const byte of bytes) {
      if (byte === 0) return null
      node ^= byte
      const unit = this.#units[node] ?? 0
      if ((unit & 0x8000_00ff) !== byte) return null
      node ^= offsetOf(unit)
      if (((unit >>> 8) & 1) === 1) return (this.#units[node] ?? 0) & 0x7fff_ffff
    }
    return null
  }
}

/**
 * The graphemes of a text. The segmenter's time grows with the square of a text's length, so it receives pieces. The last grapheme of a
 * piece is segmented again with the next piece, because the grapheme may continue there. Where a grapheme ends does not depend on the text
 * before it.
 */
function* graphemes(text: string): Generator<string> {
  let begin = 0
  let length = pieceLength
  while (begin < text.length) {
    const end = begin + length
    const isPair = (text.codePointAt(end - 1) ?? 0) > 0xffff
    const segments = Array.from(segmenter.segment(text.slice(begin, isPair ? end + 1 : end)), ({ segment }) => segment)
    if (end < text.length) {
      const last = segments.pop()
      if (segments.length === 0 && last !== undefined) {
        length *= 2
        continue
      }
    }
    for (const segment of segments) {
      begin += segment.length
      yield segment
    }
    length = pieceLength
  }
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (text.length > maxMapBytes) throw broken(`it is longer than ${maxMapBytes} characters`)
  let binary: string
  try {
    binary = atob(text)
  } catch {
    throw broken('it is not base64')
  }
  const bytes = new Uint8Array(binary.length)
  // A loop takes 1 ms for T5's table of 250,000 characters; `Uint8Array.from` goes through the string's iterator and takes 25 ms.
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index)
  return bytes
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6)
}

function broken(what: string): CheckpointError {
  return new CheckpointError('tokenizer-normalizer', `The tokenizer's precompiled_charsmap is broken: ${what}.`)
}
