/**
 * The GGUF format, in which stable-diffusion.cpp and ComfyUI-GGUF publish quantized networks: a header with metadata and a list of tensors,
 * then their bytes. The header is read and checked; tensors in blocks appear as float32, computed when they are read.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */

import { CheckpointError, UnsupportedError } from '../errors.js'
import type { ByteRange, ByteSource, ReadOptions } from '../hub/types.js'
import { elementCount } from '../util/element-count.js'
import { blockType, blockTypeNames, type BlockType } from './gguf-blocks.js'
import { bytesOf } from './element-types.js'
import type { SafetensorsDType, TensorEntry } from './types.js'

/** The tensors of a file, and the strings in its metadata. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  /** The strings in its metadata. */
  readonly metadata: ReadonlyMap<string, string>
}

/** The longest header that is read, and the most entries of its lists. */
export const ggufLimits = { headerBytes: 32 << 20, tensors: 65_536, pairs: 65_536, textBytes: 4 << 20, rank: 8 } as const

const floatTypes: Readonly<Record<number, readonly [SafetensorsDType, number]>> = {
  0: ['F32', 4],
  1: ['F16', 2],
  30: ['BF16', 2],
}

/** Whether a file's first bytes are those of GGUF. */
export function isGguf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x47 && bytes[1] === 0x47 && bytes[2] === 0x55 && bytes[3] === 0x46
}

/** Reads and checks a file's header. `file`: its name, for errors. @throws CheckpointError `gguf-header`; UnsupportedError `gguf-type` */
export async function readGguf(source: ByteSource, file: string, options: ReadOptions = {}): Promise<TensorFile> {
  // The header does not state its own length, so more bytes are read until it ends.
  for (let length = 256 << 10; ; length *= 4) {
    const end = Math.min(length, source.byteLength, ggufLimits.headerBytes)
    const bytes = await source.read({ begin: 0, end }, options)
    try {
      return parseGguf(bytes, source, file)
    } catch (error) {
      if (!(error instanceof EndOfBytes)) throw error
      if (end === source.byteLength || end === ggufLimits.headerBytes)
        throw wrong(file, `its header does not end within ${end} bytes`)
    }
  }
}

/** Thrown if the bytes that were read end before the header does. */
class EndOfBytes extends Error {}

function wrong(file: string, what: string): CheckpointError {
  return new CheckpointError('gguf-header', `${file} is no valid GGUF file: ${what}.`, { file, reason: what })
}

interface RawTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly type: number
  readonly offset: number
}

function parseGguf(bytes: Uint8Array<ArrayBuffer>, source: ByteSource, file: string): TensorFile {
  const reader = new HeaderReader(bytes, file)
  if (!isGguf(bytes)) throw wrong(file, 'it does not begin with GGUF')
  reader.skip(4)
  const version = reader.uint32()
  if (version !== 2 && version !== 3) throw wrong(file, `its version is ${version}; allowed are 2 and 3`)
  const tensorCount = reader.count(ggufLimits.tensors, 'tensors')
  const pairCount = reader.count(ggufLimits.pairs, 'metadata entries')
  const metadata = new Map<string, string>()
  const shapes = new Map<string, readonly number[]>()
  let alignment = 32
  for (let i = 0; i < pairCount; i++) {
    const key = reader.text()
    const value = reader.value(reader.uint32())
    if (typeof value === 'string') metadata.set(key, value)
    if (key === 'general.alignment' && typeof value === 'number') alignment = value
    // If a tensor's rows are not whole blocks, ComfyUI-GGUF stores the tensor as a matrix of another shape, and its true shape in the
    // metadata.
    if (key.startsWith(originalShape) && Array.isArray(value)) shapes.set(key.slice(originalShape.length), value)
  }
  if (!(alignment >= 1 && alignment <= 1 << 20))
    throw wrong(file, `general.alignment is ${alignment}; allowed are 1 to ${1 << 20}`)
  const raw: RawTensor[] = []
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.text()
    const rank = reader.uint32()
    if (rank > ggufLimits.rank)
      throw wrong(file, `the tensor ${name} has ${rank} dimensions; allowed are at most ${ggufLimits.rank}`)
    // GGUF lists dimensions from the last to the first.
    const shape = Array.from({ length: rank }, () => reader.uint64()).toReversed()
    raw.push({ name, shape, type: reader.uint32(), offset: reader.uint64() })
  }
  const dataBegin = Math.ceil(reader.at / alignment) * alignment
  const tensors = new Map<string, TensorEntry>()
  for (const tensor of raw) {
    if (tensors.has(tensor.name)) throw wrong(file, `it has the tensor ${tensor.name} twice`)
    tensors.set(tensor.name, tensorEntry(tensor, shapes.get(tensor.name), dataBegin, source, file))
  }
  return { tensors, metadata }
}

const originalShape = 'comfy.gguf.orig_shape.'

function tensorEntry(
  { name, shape, type, offset }: RawTensor,
  original: readonly number[] | undefined,
  dataBegin: number,
  source: ByteSource,
  file: string,
): TensorEntry {
  const count = elementCount(shape)
  if (!Number.isSafeInteger(count)) throw wrong(file, `the tensor ${name} is too large: its shape is [${shape.join(', ')}]`)
  const shown = original !== undefined && elementCount(original) === count ? original : shape
  const begin = dataBegin + offset
  const check = (bytes: number) => {
    if (begin + bytes > source.byteLength)
      throw wrong(
        file,
        `the tensor ${name} ends at byte ${begin + bytes}, but the file has ${source.byteLength}: it was cut short`,
      )
  }
  const float = Object.hasOwn(floatTypes, type) ? floatTypes[type] : undefined
  if (float !== undefined) {
    const [dtype, size] = float
    check(count * size)
    return { name, dtype, shape: shown, source, begin, end: begin + count * size }
  }
  const blocks = blockType(type)
  if (blocks === undefined)
    throw new UnsupportedError(
      'gguf-type',
      `The tensor ${name} of ${file} has the GGUF type ${type}, which is not read; supported: F32, F16, BF16, ${blockTypeNames.join(', ')}.`,
      { file, tensor: name, type },
    )
  if ((shape.at(-1) ?? 1) % blocks.weights !== 0)
    throw wrong(
      file,
      `the tensor ${name} has rows of ${shape.at(-1) ?? 1} weights, but ${blocks.name} has blocks of ${blocks.weights}`,
    )
  check((count / blocks.weights) * blocks.bytes)
  const decoded = new BlockSource(source, begin, count, blocks)
  return { name, dtype: 'F32', shape: shown, source: decoded, begin: 0, end: decoded.byteLength, blocks }
}

/** A tensor that is quantized in blocks; a read returns its values as float32. */
class BlockSource implements ByteSource {
  readonly byteLength: number
  readonly contentKey: string | undefined
  readonly #source: ByteSource
  readonly #begin: number
  readonly #type: BlockType

  constructor(source: ByteSource, begin: number, count: number, type: BlockType) {
    this.#source = source
    this.#begin = begin
    this.#type = type
    this.byteLength = count * 4
    this.contentKey = source.contentKey
  }

  async arrived(range: ByteRange, options?: ReadOptions): Promise<void> {
    await this.#source.arrived?.(this.#stored(range), options)
  }

  async read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    if (range.begin < 0 || range.begin > range.end || range.end > this.byteLength)
      throw new RangeError(`Bytes ${range.begin} to ${range.end} are outside the source, which has ${this.byteLength} bytes.`)
    const { weights, bytes, decode } = this.#type
    const stored = await this.#source.read(this.#stored(range), options)
    const values = new Float32Array((stored.byteLength / bytes) * weights)
    for (let at = 0, to = 0; at < stored.byteLength; at += bytes, to += weights) decode({ bytes: stored, at }, values, to)
    const first = Math.floor(range.begin / (weights * 4)) * weights * 4
    return bytesOf(values).subarray(range.begin - first, range.end - first)
  }

  /** The range of the file with the whole blocks that hold a range of float32 bytes. */
  #stored({ begin, end }: ByteRange): ByteRange {
    const { weights, bytes } = this.#type
    const size = weights * 4
    return {
      begin: this.#begin + Math.floor(begin / size) * bytes,
      end: this.#begin + Math.ceil(end / size) * bytes,
    }
  }
}

type MetadataValue = string | number | readonly number[] | null

/** Reads the values of a header, one after the other. */
class HeaderReader {
  at = 0
  readonly #view: DataView
  readonly #bytes: Uint8Array
  readonly #file: string

  constructor(bytes: Uint8Array<ArrayBuffer>, file: string) {
    this.#bytes = bytes
    this.#file = file
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Skips bytes, and returns where they began. */
  skip(bytes: number): number {
    const begin = this.at
    if (begin + bytes > this.#bytes.byteLength) throw new EndOfBytes()
    this.at += bytes
    return begin
  }

  uint32(): number {
    return this.#view.getUint32(this.skip(4), true)
  }

  uint64(): number {
    const value = this.#view.getBigUint64(this.skip(8), true)
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw wrong(this.#file, `it has the number ${value}; allowed are numbers up to ${Number.MAX_SAFE_INTEGER}`)
    return Number(value)
  }

  count(most: number, what: string): number {
    const value = this.uint64()
    if (value > most) throw wrong(this.#file, `it says that it has ${value} ${what}; allowed are at most ${most}`)
    return value
  }

  text(): string {
    const length = this.count(ggufLimits.textBytes, 'bytes of a text')
    const begin = this.skip(length)
    return new TextDecoder().decode(this.#bytes.subarray(begin, begin + length))
  }

  /** A metadata value: texts, whole numbers, and lists of whole numbers; null for values that nothing needs. */
  value(type: number): MetadataValue {
    switch (type) {
      case 4:
        return this.uint32()
      case 5:
        return this.#view.getInt32(this.skip(4), true)
      case 8:
        return this.text()
      case 9:
        return this.#list()
      case 10: {
        const number = this.#view.getBigUint64(this.skip(8), true)
        return number > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(number)
      }
      default: {
        const size = scalarBytes[type]
        if (size === undefined) throw wrong(this.#file, `a metadata value has the unknown type ${type}`)
        this.skip(size)
        return null
      }
    }
  }

  #list(): MetadataValue {
    const type = this.uint32()
    const length = this.count(ggufLimits.headerBytes, 'entries of a list')
    const numbers: number[] = []
    for (let i = 0; i < length; i++) {
      if (type === 9) throw wrong(this.#file, 'a metadata list holds lists, which Aquatint does not read')
      const value = this.value(type)
      if (typeof value === 'number' && numbers.length < ggufLimits.rank) numbers.push(value)
    }
    return numbers.length === length ? numbers : null
  }
}

/** Bytes of the other types of metadata: numbers of 8, 16 and 64 bits, float32, booleans and float64. */
const scalarBytes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 6: 4, 7: 1, 11: 8, 12: 8 }
