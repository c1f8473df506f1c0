/** Downloads the missing chunks of a file in pieces, several at a time. */

import { isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { chunkRange, splitRange } from '../chunk-layout.js'
import { fetchPiece } from '../http/piece-fetch.js'
import type { ByteRange } from '../types.js'
import { partLength, rangesBetween } from '../cache/chunk-parts.js'
import type { DownloadServices, FileDownload } from './download-services.js'

/** A chunk whose pieces are being fetched, or that is being hashed and stored. */
interface ChunkInMemory {
  readonly index: number
  /** Where the chunk begins in the file. */
  readonly begin: number
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Releases the memory that was claimed for the chunk. */
  readonly release: () => void
  /** Bytes that have not arrived. */
  missing: number
  /**
   * The ranges of the file that have arrived: those that an earlier download left, and one range for each piece. The end of a piece's range
   * grows while bytes arrive.
   */
  readonly arrived: { readonly begin: number; end: number }[]
}

/** Resolves when all missing chunks are stored. @throws RangesIgnored, HubError, StorageError, AbortError */
export async function fetchInPieces(services: DownloadServices, download: FileDownload): Promise<void> {
  await new ParallelFetch(services, download).run()
}

class ParallelFetch {
  readonly #services: DownloadServices
  readonly #download: FileDownload
  /** Aborted with the first failure, which ends all other requests of this file. */
  readonly #ending = new AbortController()
  readonly #signal: AbortSignal
  readonly #inMemory = new Set<ChunkInMemory>()
  readonly #storing = new Set<Promise<void>>()

  constructor(services: DownloadServices, download: FileDownload) {
    this.#services = services
    this.#download = download
    this.#signal = AbortSignal.any([download.signal, this.#ending.signal])
  }

  async run(): Promise<void> {
    const { maxStreams } = this.#services.transport.settings
    const pieces = this.#pieces()
    await Promise.all(Array.from({ length: maxStreams }, () => this.#fetchFrom(pieces)))
    await Promise.all(this.#storing)
    if (this.#download.signal.aborted || isAquatintError(this.#ending.signal.reason, 'network')) await this.#keepParts()
    for (const chunk of this.#inMemory) this.#release(chunk)
    if (this.#download.signal.aborted) throw abortError(this.#download.signal)
    if (this.#ending.signal.aborted) throw this.#ending.signal.reason
  }

  /** The pieces of all missing chunks in order. Waits until there is memory for the next chunk. */
  async *#pieces(): AsyncGenerator<{ chunk: ChunkInMemory; piece: ByteRange }> {
    const { file, writer } = this.#download
    const { memory, transport } = this.#services
    for (const index of writer.missing) {
      const range = chunkRange(index, file.size, writer.chunkBytes)
      const length = range.end - range.begin
      const release = await memory.claim(length, this.#signal)
      const chunk: ChunkInMemory = {
        index,
        begin: range.begin,
        bytes: new Uint8Array(length),
        release,
        missing: length,
        arrived: [],
      }
      this.#inMemory.add(chunk)
      const taken = await writer.takePart(index, chunk.bytes)
      chunk.missing -= partLength(taken)
      chunk.arrived.push(...taken.map(({ begin, end }) => ({ begin, end })))
      for (const rest of rangesBetween(range, taken))
        for (const piece of splitRange(rest, transport.settings.pieceBytes)) yield { chunk, piece }
    }
  }

  /** Stores the ranges of each unfinished chunk that have arrived. */
  async #keepParts(): Promise<void> {
    const parts = [...this.#inMemory].flatMap(({ index, bytes, missing, arrived }) => {
      const ranges = arrived.filter(({ begin, end }) => end > begin).sort((a, b) => a.begin - b.begin)
      return missing > 0 && ranges.length > 0 ? [{ index, bytes, ranges }] : []
    })
    if (parts.length > 0) await this.#download.writer.keepParts(parts)
  }

  /** Fetches one piece after the other until none is left, and stores each chunk that is whole. A failure ends the whole download. */
  async #fetchFrom(pieces: AsyncGenerator<{ chunk: ChunkInMemory; piece: ByteRange }>): Promise<void> {
    const { file, meter } = this.#download
    try {
      for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
        const { chunk, piece } = next.value
        const target = chunk.bytes.subarray(piece.begin - chunk.begin, piece.end - chunk.begin)
        const arrived = { begin: piece.begin, end: piece.begin }
        chunk.arrived.push(arrived)
        await fetchPiece(this.#services.transport, {
          file,
          range: piece,
          target,
          signal: this.#signal,
          onBytes: (count) => {
            arrived.end += count
            meter.add(count)
          },
        })
        chunk.missing -= target.length
        if (chunk.missing > 0) continue
        const stored = this.#store(chunk)
        this.#storing.add(stored)
        void stored.finally(() => this.#storing.delete(stored))
      }
    } catch (error) {
      this.#ending.abort(error)
    }
  }

  async #store(chunk: ChunkInMemory): Promise<void> {
    const { file, writer, meter } = this.#download
    try {
      await writer.put(chunk.index, chunk.bytes, () => this.#release(chunk))
      if (this.#services.store.isInMemory(file.key)) meter.notKept()
    } catch (error) {
      this.#ending.abort(error)
    }
  }

  #release(chunk: ChunkInMemory): void {
    if (this.#inMemory.delete(chunk)) chunk.release()
  }
}
