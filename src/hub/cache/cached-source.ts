/** A stored file as a byte source: it reads the Blobs of the file's chunks. */

import { InputError, StorageError } from '../../errors.js'
import { throwIfAborted } from '../../util/abort.js'
import { freeBytes } from '../../util/free-bytes.js'
import { chunkCount, chunkRange, planRead, type ChunkSlice } from '../chunk-layout.js'
import { contentName, type StoredFile } from '../stored-file.js'
import type { ByteRange, ByteSource, ReadOptions } from '../types.js'

/** Restores a chunk whose bytes (those of `slice`) cannot be read, and returns its Blob. */
export type RepairChunk = (slice: ChunkSlice, options: ReadOptions) => Promise<Blob>

/**
 * A file of the cache. If the browser has lost a chunk, or no earlier opening wanted it, a read downloads it.
 * @throws as {@link ByteSource.read}
 */
export class CachedSource implements ByteSource {
  readonly byteLength: number
  readonly contentKey: string | undefined
  readonly #path: string
  readonly #chunkBytes: number
  /** The Blob of each chunk, by index. Undefined for a chunk that the next read gets from `#repair`. */
  readonly #blobs: (Blob | undefined)[]
  readonly #repair: RepairChunk
  #keepsBlobs = true

  constructor(file: StoredFile, chunkBytes: number, blobs: readonly (Blob | undefined)[], repair: RepairChunk) {
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

  /** Drops all Blobs, so that the browser can free the disk space of deleted chunks. Later reads get Blobs from the store again. */
  releaseBlobs(): void {
    this.#keepsBlobs = false
    this.#blobs.fill(undefined)
  }

  async #readSlice(slice: ChunkSlice, options: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const { index, begin, end } = slice
    const blob = this.#blobs[index]
    const bytes = blob === undefined ? undefined : await readBlob(blob, begin, end)
    if (bytes !== undefined) return bytes
    // Browsers may delete stored bytes at any time.
    const repaired = await this.#repair(slice, options)
    if (this.#keepsBlobs) this.#blobs[index] = repaired
    const again = await readBlob(repaired, begin, end)
    if (again !== undefined) return again
    throw new StorageError(
      'storage-unreadable',
      `Chunk ${index} of ${this.#path} cannot be read from the browser's storage, not even after it was downloaded again. Load the model again.`,
      { path: this.#path, index },
    )
  }
}

/** Bytes `begin` to `end` of a Blob, or undefined when the browser no longer has them. */
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
  throw new InputError('range-out-of-bounds', `Bytes ${begin} to ${end} are outside ${path}, which has ${byteLength} bytes.`, {
    begin,
    end,
    byteLength,
    path,
  })
}

/**
 * The Blob of each chunk of a file, in order; undefined for a chunk that is missing or has the wrong length. If such a chunk is in `wanted` (by
 * default every chunk), the whole result is undefined.
 */
export function storedChunks(
  chunks: ReadonlyMap<number, Blob>,
  size: number,
  chunkBytes: number,
  wanted?: ReadonlySet<number>,
): (Blob | undefined)[] | undefined {
  const blobs: (Blob | undefined)[] = []
  for (let index = 0; index < chunkCount(size, chunkBytes); index++) {
    const { begin, end } = chunkRange(index, size, chunkBytes)
    const blob = chunks.get(index)
    const isStored = blob?.size === end - begin
    if (!isStored && wanted?.has(index) !== false) return undefined
    blobs.push(isStored ? blob : undefined)
  }
  return blobs
}
