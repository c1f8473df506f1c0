/**
 * Writes PNG files (W3C PNG specification, third edition) from exact pixels with text chunks, and reads their text. It does not decode
 * pixels; browsers do that.
 */

import { InputError } from '../../errors.js'
import type { PixelImage } from '../../pipelines/types.js'

/** Keyword (1–79 Latin-1 characters) → text. */
export type PngText = Readonly<Record<string, string>>

const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10)
/** The longest text chunk that is read, in bytes. Aquatint writes none that long, and the file may be untrusted. */
const maxTextBytes = 1 << 20

/** Encodes a PNG: RGB if every pixel is opaque, else RGBA; with `iTXt` chunks before the pixels. */
export async function encodePng({ width, height, data }: PixelImage, text: PngText = {}): Promise<Uint8Array<ArrayBuffer>> {
  const channels = isOpaque(data) ? 3 : 4
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header.set([8, channels === 3 ? 2 : 6, 0, 0, 0], 8)
  const pixels = await deflate(filterRows(data, width, height, channels))
  return concat([
    signature,
    chunk('IHDR', header),
    ...Object.entries(text).map(([keyword, value]) => chunk('iTXt', textChunk(keyword, value))),
    chunk('IDAT', pixels),
    chunk('IEND', new Uint8Array()),
  ])
}

/**
 * Reads the uncompressed `iTXt` and `tEXt` chunks of a PNG, as keyword → text. If several chunks have the same keyword, the first one counts.
 * @throws InputError `not-a-png` when the file is something else or cut short
 */
export async function readPngText(file: Blob): Promise<Record<string, string>> {
  const bytes = new Uint8Array(await file.arrayBuffer())
  if (bytes.length < 8 || signature.some((byte, i) => bytes[i] !== byte)) throw notPng('it does not start like one')
  const view = new DataView(bytes.buffer)
  const found = new Map<string, string>()
  for (let at = 8; ;) {
    if (at + 12 > bytes.length) throw notPng('it is cut short')
    const length = view.getUint32(at)
    const type = latin1(bytes.subarray(at + 4, at + 8))
    const end = at + 8 + length
    if (end + 4 > bytes.length) throw notPng('it is cut short')
    if (type === 'IEND') return Object.fromEntries(found)
    const pair = length > maxTextBytes ? undefined : readText(type, bytes.subarray(at + 8, end))
    if (pair !== undefined && !found.has(pair[0])) found.set(...pair)
    at = end + 4
  }
}

function readText(type: string, body: Uint8Array): [string, string] | undefined {
  const keywordEnd = body.indexOf(0)
  if (keywordEnd < 1) return undefined
  const keyword = latin1(body.subarray(0, keywordEnd))
  if (type === 'tEXt') return [keyword, latin1(body.subarray(keywordEnd + 1))]
  if (type !== 'iTXt' || body[keywordEnd + 1] !== 0) return undefined
  const languageEnd = body.indexOf(0, keywordEnd + 3)
  const translatedEnd = languageEnd < 0 ? -1 : body.indexOf(0, languageEnd + 1)
  return translatedEnd < 0 ? undefined : [keyword, new TextDecoder().decode(body.subarray(translatedEnd + 1))]
}

function textChunk(keyword: string, text: string): Uint8Array {
  if (!/^[!-~¡-ÿ](?:[ -~¡-ÿ]{0,77}[!-~¡-ÿ])?$/.test(keyword)) {
    throw new InputError('bad-png-keyword', `A PNG keyword has 1 to 79 Latin-1 characters and no space at an end: ${keyword}`, {
      keyword,
    })
  }
  const name = Uint8Array.from(keyword, (character) => character.charCodeAt(0))
  // The five zero bytes: end of the keyword, no compression (two bytes), no language, no translated keyword.
  return concat([name, new Uint8Array(5), new TextEncoder().encode(text)])
}

/** Filters each row with the filter (None, Sub, Up, Paeth) whose residues have the lowest sum, the heuristic of the specification. */
function filterRows(data: Uint8ClampedArray, width: number, height: number, channels: 3 | 4): Uint8Array<ArrayBuffer> {
  const stride = width * channels
  const out = new Uint8Array((stride + 1) * height)
  let above = new Uint8Array(stride)
  let row = new Uint8Array(stride)
  const candidates = filters.map(() => new Uint8Array(stride))
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) row[x * channels + c] = data[(y * width + x) * 4 + c] ?? 0
    }
    let best = 0
    let bestSum = Infinity
    filters.forEach(({ predict }, f) => {
      const candidate = candidates[f] as Uint8Array
      let sum = 0
      for (let i = 0; i < stride; i++) {
        const left = i < channels ? 0 : (row[i - channels] ?? 0)
        const corner = i < channels ? 0 : (above[i - channels] ?? 0)
        const residue = ((row[i] ?? 0) - predict(left, above[i] ?? 0, corner)) & 255
        candidate[i] = residue
        sum += residue < 128 ? residue : 256 - residue
      }
      if (sum < bestSum) {
        best = f
        bestSum = sum
      }
    })
    out[y * (stride + 1)] = filters[best]?.type ?? 0
    out.set(candidates[best] ?? row, y * (stride + 1) + 1)
    ;[above, row] = [row, above]
  }
  return out
}

const filters: readonly { type: number; predict: (left: number, up: number, corner: number) => number }[] = [
  { type: 0, predict: () => 0 },
  { type: 1, predict: (left) => left },
  { type: 2, predict: (_left, up) => up },
  { type: 4, predict: paeth },
]

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner
  const dLeft = Math.abs(estimate - left)
  const dUp = Math.abs(estimate - up)
  const dCorner = Math.abs(estimate - corner)
  if (dLeft <= dUp && dLeft <= dCorner) return left
  return dUp <= dCorner ? up : corner
}

function chunk(type: string, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(body.length + 12)
  const view = new DataView(out.buffer)
  view.setUint32(0, body.length)
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i)
  out.set(body, 8)
  view.setUint32(8 + body.length, crc32(out.subarray(4, 8 + body.length)))
  return out
}

/** CRC-32 as in annex D of the PNG specification, bit by bit: a chunk takes milliseconds, so a lookup table would not pay off. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return ~crc >>> 0
}

async function deflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const compressed = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'))
  return new Uint8Array(await new Response(compressed).arrayBuffer())
}

function isOpaque(data: Uint8ClampedArray): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return false
  return true
}

function latin1(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

function notPng(why: string): InputError {
  return new InputError('not-a-png', `This file is not a whole PNG: ${why}.`)
}
