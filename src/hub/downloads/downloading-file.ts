/**
 * A file while it is being downloaded, as a byte source: a read waits until its chunks are stored. Nothing vouches for the bytes before
 * the whole file is verified, so whoever uses them early keeps the result apart until `verified` says that they stood. When the download
 * fails or starts over, so does every read from then on.
 */

import { HubError } from '../../errors.js'
import { orAbort } from '../../util/abort.js'
import { freeBytes } from '../../util/free-bytes.js'
import { checkReadRange } from '../cache/cached-source.js'
import { planRead } from '../chunk-layout.js'
import { deferred } from '../../util/deferred.js'
import type { LayeredStore } from '../cache/layered-store.js'
import { contentName, type StoredFile } from '../remote-file.js'
import type { DownloadingSource, ByteRange, ByteSource, ReadOptions } from '../types.js'

export class DownloadingFile implements DownloadingSource {
  readonly byteLength: number
  readonly contentKey: string | undefined
  readonly #store: LayeredStore
  readonly #file: StoredFile
  readonly #chunkBytes: number
  readonly #here: Set<number>
  readonly #waiting = new Map<number, ReturnType<typeof deferred>>()
  readonly #end = deferred()
  #whole: ByteSource | undefined
  #failure: { readonly error: unknown } | undefined

  /** @param here indexes of the chunks that are stored already */
  constructor(store: LayeredStore, file: StoredFile, chunkBytes: number, here: Iterable<number>) {
    this.#store = store
    this.#file = file
    this.byteLength = file.size
    this.contentKey = contentName(file)
    this.#chunkBytes = chunkBytes
    this.#here = new Set(here)
  }

  /** A chunk was stored. */
  stored(index: number): void {
    this.#here.add(index)
    this.#waiting.get(index)?.resolve()
    this.#waiting.delete(index)
  }

  /** The file is complete and verified: reads go to `whole` from now on. */
  complete(whole: ByteSource): void {
    if (this.#failure !== undefined) return
    this.#whole = whole
    this.#settle()
  }

  /** The bytes so far count for nothing: the download failed, or starts over. */
  fail(error: unknown): void {
    if (this.#whole !== undefined) return
    this.#failure ??= { error }
    this.#settle()
  }

  async arrived(range: ByteRange, options: ReadOptions = {}): Promise<void> {
    for (const { index } of planRead(range, this.#chunkBytes)) {
      if (this.#failure === undefined && this.#whole === undefined && !this.#here.has(index)) {
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
    for (const { index, begin, end } of slices) {
      const part = await this.#readStored(index, begin, end)
      if (part === undefined) {
        // The store lost it: the download will notice, and its end knows what to do.
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

  async #readStored(index: number, begin: number, end: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const blob = await this.#store.chunk(this.#file.key, index)
      const bytes = blob === undefined ? undefined : new Uint8Array(await blob.slice(begin, end).arrayBuffer())
      return bytes?.length === end - begin ? bytes : undefined
    } catch {
      return undefined
    }
  }

  #settle(): void {
    for (const wait of this.#waiting.values()) wait.resolve()
    this.#waiting.clear()
    this.#end.resolve()
  }
}

/** Why what was made early is thrown away. */
export function downloadRestarted(file: StoredFile): HubError {
  return new HubError('download-restarted', `${file.repository}: the download of ${file.path} started over`, { path: file.path })
}
