/** A file in the store as a ByteSource: its chunks' Blobs side by side, read where they lie. */

import { InputError, StorageError } from '../../errors.js'
import { throwIfAborted } from '../../util/abort.js'
import { freeBytes } from '../../util/free-bytes.js'
import { chunkCount, chunkRange, planRead, type ChunkSlice } from '../chunk-layout.js'
import { contentName, type StoredFile } from '../remote-file.js'
import type { ByteRange, ByteSource, ReadOptions } from '../types.js'

/** Brings a chunk whose bytes cannot be read (those of `slice`, or all) back into the store. */
export type RepairChunk = (slice: ChunkSlice, options: ReadOptions) => Promise<Blob>

export class CachedSource implements ByteSource {
  readonly byteLength: number
  readonly contentKey: string | undefined
  readonly #path: string
  readonly #chunkBytes: number
  /** Absent for chunks that are read from the store again: one that could not be read, and all once nothing is held any more. */
  readonly #blobs: (Blob | undefined)[]
  readonly #repair: RepairChunk
  #holds = true

  constructor(file: StoredFile, chunkBytes: number, blobs: readonly Blob[], repair: RepairChunk) {
    this.#path = file.path
    this.byteLength = file.size
    this.contentKey = contentName(file)
    this.#chunkBytes = chunkBytes
    this.#blobs = [...blobs]
    this.#repair = repair
  }

  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    checkReadRange(range, this.byteLength, this.#path)
    throwIfAborted(options.signal)
    const slices = planRead(range, this.#chunkBytes)
    const [first] = slices
    if (first === undefined) return new Uint8Array(0)
    if (slices.length === 1) return this.#readSlice(first, options)
    const bytes = new Uint8Array(range.end - range.begin)
    let at = 0
    for (const slice of slices) {
      throwIfAborted(options.signal)
      const part = await this.#readSlice(slice, options)
      bytes.set(part, at)
      at += part.length
      freeBytes(part)
    }
    return bytes
  }

  /** Holds nothing of the store any more, so that what is deleted there is really gone. Reads go to the store from now on. */
  releaseBlobs(): void {
    this.#holds = false
    this.#blobs.fill(undefined)
  }

  async #readSlice(slice: ChunkSlice, options: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const { index, begin, end } = slice
    const blob = this.#blobs[index]
    const bytes = blob === undefined ? undefined : await readBlob(blob, begin, end)
    if (bytes !== undefined) return bytes
    // Browsers may take stored bytes away at any time.
    const repaired = await this.#repair(slice, options)
    if (this.#holds) this.#blobs[index] = repaired
    const again = await readBlob(repaired, begin, end)
    if (again !== undefined) return again
    throw new StorageError('storage-unreadable', `A stored part of ${this.#path} cannot be read`, { path: this.#path, index })
  }
}

/** The bytes, or undefined when the browser no longer has them. */
export async function readBlob(blob: Blob, begin: number, end: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const bytes = new Uint8Array(await blob.slice(begin, end).arrayBuffer())
    return bytes.length === end - begin ? bytes : undefined
  } catch {
    return undefined
  }
}

/** @throws InputError `range-out-of-bounds` */
export function checkReadRange({ begin, end }: ByteRange, byteLength: number, path: string): void {
  if (Number.isSafeInteger(begin) && Number.isSafeInteger(end) && begin >= 0 && begin <= end && end <= byteLength) return
  throw new InputError('range-out-of-bounds', `Bytes ${begin} to ${end} are not inside ${path}, which has ${byteLength}`, {
    begin,
    end,
    byteLength,
    path,
  })
}

/** The Blobs of a complete file in order, or undefined when one is missing or has another length. */
export function allChunks(chunks: ReadonlyMap<number, Blob>, size: number, chunkBytes: number): Blob[] | undefined {
  const blobs: Blob[] = []
  for (let index = 0; index < chunkCount(size, chunkBytes); index++) {
    const { begin, end } = chunkRange(index, size, chunkBytes)
    const blob = chunks.get(index)
    if (blob?.size !== end - begin) return undefined
    blobs.push(blob)
  }
  return blobs
}
