/** Downloads a file from a server that does not support ranges: one answer, read from its first byte to its last and cut into chunks. */

import { chunkRange } from '../chunk-layout.js'
import { checkAnswer, requestFile } from '../http/piece-fetch.js'
import { retrying } from '../http/retry.js'
import type { DownloadServices, FileDownload } from './download-services.js'

/** Stores the missing chunks. The bytes of all other chunks are received and dropped, since the server cannot omit them. */
export async function streamChunks(services: DownloadServices, download: FileDownload): Promise<void> {
  const { writer, signal } = download
  const release = await services.memory.claim(writer.chunkBytes, signal)
  let before = 0
  try {
    await retrying(
      services.transport,
      signal,
      async () => {
        before = writer.missing.length
        await streamOnce(services, download)
        return writer.missing.length === 0 ? true : undefined
      },
      () => writer.missing.length < before,
    )
  } finally {
    release()
  }
}

async function streamOnce({ transport, store }: DownloadServices, download: FileDownload): Promise<void> {
  const { file, meter, signal } = download
  const cutter = new ChunkCutter(download)
  try {
    await requestFile(transport, {
      file,
      range: undefined,
      signal,
      accept: (answer, slot) => {
        checkAnswer(answer, file)
        return async (bytes) => {
          slot.count(bytes.length)
          await cutter.take(bytes)
        }
      },
    })
  } catch (error) {
    // The bytes of an unfinished chunk arrive again with the next attempt.
    meter.add(-cutter.unstored)
    throw error
  } finally {
    if (store.isInMemory(file.key)) meter.notKept()
  }
}

/** Cuts the bytes of a file, from the first on, into chunks, and stores those that are missing. */
class ChunkCutter {
  readonly #download: FileDownload
  readonly #missing: ReadonlySet<number>
  /** The next byte's position in the file, and the index and the bytes of its chunk. */
  #at = 0
  #index = 0
  #chunk = new Uint8Array(0)
  #unstored = 0

  constructor(download: FileDownload) {
    this.#download = download
    this.#missing = new Set(download.writer.missing)
  }

  /** Bytes of the unfinished chunk, which the progress already counts. */
  get unstored(): number {
    return this.#unstored
  }

  async take(bytes: Uint8Array): Promise<void> {
    const { file, writer } = this.#download
    for (let from = 0; from < bytes.length;) {
      const { begin, end } = chunkRange(this.#index, file.size, writer.chunkBytes)
      const count = Math.min(bytes.length - from, end - this.#at)
      if (this.#missing.has(this.#index)) {
        if (this.#at === begin) this.#chunk = new Uint8Array(end - begin)
        this.#chunk.set(bytes.subarray(from, from + count), this.#at - begin)
        this.#unstored += count
        this.#download.meter.add(count)
      }
      from += count
      this.#at += count
      if (this.#at === end) await this.#finishChunk()
    }
  }

  async #finishChunk(): Promise<void> {
    if (this.#missing.has(this.#index)) await this.#download.writer.put(this.#index, this.#chunk)
    this.#unstored = 0
    this.#index++
  }
}
