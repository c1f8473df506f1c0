/** Helpers that the tests of this folder share: repositories and safetensors files in memory. Not part of the library. */

import { HubError } from '../errors.js'
import type { ByteRange, ByteSource, Repository } from '../hub/types.js'
import { elementCount } from '../util/element-count.js'

/** Bytes in memory as a source that records each read. */
export class MemorySource implements ByteSource {
  readonly byteLength: number
  readonly reads: ByteRange[] = []
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array, byteLength = bytes.byteLength) {
    this.#bytes = bytes
    this.byteLength = byteLength
  }

  async read(range: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    this.reads.push(range)
    if (range.begin < 0 || range.end > this.byteLength || range.begin > range.end) throw new RangeError('read outside the file')
    return Uint8Array.from(this.#bytes.subarray(range.begin, range.end))
  }
}

export interface MemoryRepository extends Repository {
  /** Paths in the order they were opened. */
  readonly opened: string[]
  readonly sources: ReadonlyMap<string, MemorySource>
}

/** A repository of files in memory; strings are written as UTF-8. */
export function memoryRepository(files: Readonly<Record<string, Uint8Array | string>>): MemoryRepository {
  const sources = new Map(
    Object.entries(files).map(([path, content]) => [
      path,
      new MemorySource(typeof content === 'string' ? new TextEncoder().encode(content) : content),
    ]),
  )
  const opened: string[] = []
  return {
    id: 'memory',
    revision: 'main',
    opened,
    sources,
    files: async () =>
      [...sources].map(([path, source]) => ({ path, size: source.byteLength })).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    open: async (path) => {
      const source = sources.get(path)
      if (!source) throw new HubError('file-not-found', `memory has no ${path}.`, { path })
      opened.push(path)
      return source
    },
  }
}

/** A safetensors file from a header (object or text) and `dataBytes` bytes of data. */
export function safetensorsFile(header: object | string, dataBytes: number): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const file = new Uint8Array(8 + json.byteLength + dataBytes)
  new DataView(file.buffer).setBigUint64(0, BigInt(json.byteLength), true)
  file.set(json, 8)
  for (let i = 0; i < dataBytes; i++) file[8 + json.byteLength + i] = i & 255
  return file
}

/** A safetensors file of float32 tensors of these shapes, one after the other. */
export function float32File(shapes: Readonly<Record<string, readonly number[]>>): Uint8Array<ArrayBuffer> {
  let at = 0
  const header: Record<string, unknown> = {}
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 4 * elementCount(shape)
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes] }
    at += bytes
  }
  return safetensorsFile(header, at)
}
