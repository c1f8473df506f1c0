/**
 * SentencePiece's normalizer as the tokenizers library in Rust runs it ("Precompiled" in tokenizer.json): a table of replacements, held as
 * a double-array trie over UTF-8 bytes and a block of strings that end in 0. Each grapheme of less than six bytes is looked up as a whole,
 * then its characters one by one; the shortest match counts, and replaces all that was looked up.
 * Source: SentencePiece's `normalizer.cc`, darts-clone, the crate spm_precompiled.
 */

import { CheckpointError, UnsupportedError } from '../errors.js'

const maxMapBytes = 8_000_000

type Json = Readonly<Record<string, unknown>>

/** The function for the `normalizer` of a tokenizer.json. @throws UnsupportedError `tokenizer-normalizer`, CheckpointError `tokenizer-normalizer` */
export function unigramNormalizer(normalizer: unknown): (text: string) => string {
  if (normalizer === null || normalizer === undefined) return (text) => text
  const { type, precompiled_charsmap: map, normalizers } = normalizer as Json
  if (type === 'Precompiled' && typeof map === 'string') {
    const table = new CharacterMap(decodeBase64(map))
    return (text) => table.normalize(text)
  }
  if (type === 'Sequence' && Array.isArray(normalizers)) {
    const steps = normalizers.slice(0, 8).map((step: unknown) => unigramNormalizer(step))
    return (text) => steps.reduce((result, step) => step(result), text)
  }
  throw new UnsupportedError(
    'tokenizer-normalizer',
    `The tokenizer's normalizer ${JSON.stringify(type)?.slice(0, 100)} is not supported; supported: Precompiled, Sequence.`,
    { normalizer: String(type).slice(0, 100), supported: ['Precompiled', 'Sequence'] },
  )
}

function broken(what: string): CheckpointError {
  return new CheckpointError('tokenizer-normalizer', `The tokenizer's precompiled_charsmap is broken: ${what}.`)
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (text.length > maxMapBytes) throw broken(`it is longer than ${maxMapBytes} characters`)
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    throw broken('it is not base64')
  }
}

class CharacterMap {
  readonly #units: Uint32Array
  readonly #strings: Uint8Array
  readonly #encoder = new TextEncoder()
  readonly #decoder = new TextDecoder()
  readonly #segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })

  constructor(blob: Uint8Array<ArrayBuffer>) {
    if (blob.byteLength < 8) throw broken('it is too short')
    const size = new DataView(blob.buffer).getUint32(0, true)
    if (size % 4 !== 0 || size === 0 || 4 + size > blob.byteLength) throw broken(`its trie is ${size} bytes long`)
    this.#units = new Uint32Array(blob.buffer.slice(4, 4 + size))
    this.#strings = blob.subarray(4 + size)
  }

  normalize(text: string): string {
    let result = ''
    for (const { segment } of this.#segmenter.segment(text)) {
      const bytes = this.#encoder.encode(segment)
      const whole = bytes.byteLength < 6 ? this.#replacement(bytes) : null
      if (whole !== null) {
        result += whole
        continue
      }
      for (const character of segment) result += this.#replacement(this.#encoder.encode(character)) ?? character
    }
    return result
  }

  #replacement(bytes: Uint8Array): string | null {
    const begin = this.#firstMatch(bytes)
    if (begin === null) return null
    const end = this.#strings.indexOf(0, begin)
    return this.#decoder.decode(this.#strings.subarray(begin, end < 0 ? undefined : end))
  }

  /** The value of the shortest prefix of `bytes` in the trie. */
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

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6)
}
