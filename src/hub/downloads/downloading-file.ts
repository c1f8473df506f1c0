/**
 * A file that is being downloaded, as a byte source: a read waits until its chunks are stored. The bytes are not verified before the whole
 * file is, so a caller that uses them early must not keep its result until `verified` resolves. When the download fails or starts over,
 * every later read fails too.
 */

import { HubError } from '../../errors.js'
import { orAbort } from '../../util/abort.js'
import { deferred } from '../../util/deferred.js'
import { freeBytes } from '../../util/free-bytes.js'
import { checkReadRange, readBlob } from '../cache/cached-source.js'
import type { LayeredStore } from '../cache/layered-store.js'
import { planRead, type ChunkSlice } from '../chunk-layout.js'
import { contentName, type StoredFile } from '../stored-file.js'
import type { ByteRange, ByteSource, DownloadingSource, ReadOptions } from '../types.js'

/** A file whose chunks can be read as soon as they are stored, before the file is verified. */
export class DownloadingFile implements DownloadingSource {
  readonly byteLength: number
  readonly contentKey: string | undefined
  readonly #store: LayeredStore
  readonly #file: StoredFile
  readonly #chunkBytes: number
  /** Indexes of the chunks that are stored. */
  readonly #stored: Set<number>
  readonly #waiting = new Map<number, ReturnType<typeof deferred>>()
  readonly #end = deferred()
  /** The complete file, once it is verified. */
  #whole: ByteSource | undefined
  #failure: { readonly error: unknown } | undefined

  /** @param stored indexes of the chunks that are stored already */
  constructor(store: LayeredStore, file: StoredFile, chunkBytes: number, stored: Iterable<number>) {
    this.#store = store
    this.#file = file
    this.byteLength = file.size
    this.contentKey = contentName(file)
    this.#chunkBytes = chunkBytes
    this.#stored = new Set(stored)
  }

  /** Reports that a chunk was stored. */
  stored(index: number): void {
    this.#stored.add(index)
    this.#waiting.get(index)?.resolve()
    this.#waiting.delete(index)
  }

  /** Reports that the file is complete and verified. Reads go to `whole` from now on. */
  complete(whole: ByteSource): void {
    if (this.#failure !== undefined) return
    this.#whole = whole
    this.#settle()
  }

  /** Reports that the download failed or starts over. The bytes read so far are worthless, and every read fails with `error` from now on. */
  fail(error: unknown): void {
    if (this.#whole !== undefined) return
    this.#failure ??= { error }
    this.#settle()
  }

  async arrived(range: ByteRange, options: ReadOptions = {}): Promise<void> {
    for (const { index } of planRead(range, this.#chunkBytes)) {
      if (this.#failure === undefined && this.#whole === undefined && !this.#stored.has(index)) {
        const wait = this.#waiting.get(index) ?? deferred()
        this.#waiting.set(index, wait)
        await orAbort(wait.promise, options.signal)
      }
    }
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    checkReadRange(range, this.byteLength, this.#file.path)
    await this.arrived(range, options)
    if (this.#whole !== undefined) return this.#whole.read(range, options)
    const slices = planRead(range, this.#chunkBytes)
    const bytes = new Uint8Array(range.end - range.begin)
    let at = 0
    for (const slice of slices) {
      const part = await this.#readStored(slice)
      if (part === undefined) {
        // The storage lost the chunk. The download notices that too: it repairs the file, or fails.
        await this.verified(options)
        return this.read(range, options)
      }
      if (slices.length === 1) return part
      bytes.set(part, at)
      at += part.length
      freeBytes(part)
    }
    return bytes
  }

  async verified(options: ReadOptions = {}): Promise<void> {
    await orAbort(this.#end.promise, options.signal)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #readStored({ index, begin, end }: ChunkSlice): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const blob = await this.#store.chunk(this.#file.key, index).catch(() => undefined)
    return blob === undefined ? undefined : readBlob(blob, begin, end)
  }

  #settle(): void {
    for (const wait of this.#waiting.values()) wait.resolve()
    this.#waiting.clear()
    this.#end.resolve()
  }
}

/** The error for readers of unverified bytes, which makes them discard their result. */
export function downloadRestarted({ repository, path }: StoredFile): HubError {
  const message = `${repository}: the download of ${path} started over, because its first bytes were wrong or were lost.`
  return new HubError('download-restarted', message, { path })
}
