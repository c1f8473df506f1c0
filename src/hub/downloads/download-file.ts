/**
 * Brings one file into the store, whole and checked: in parallel pieces where the server gives ranges, as one stream where it does not.
 * Starts over once when the bytes turn out wrong, then says so.
 */

import { isAquatintError } from '../../errors.js'
import { DownloadingFile, downloadRestarted } from './downloading-file.js'
import { abortError } from '../../util/abort.js'
import { chunkRange, splitRange } from '../chunk-layout.js'
import { ChunkWriter } from './chunk-writer.js'
import { fileRecordKey } from '../cache/file-record.js'
import { fetchPiece, RangesIgnored } from '../http/piece-fetch.js'
import type { ProgressMeter } from './progress-meter.js'
import type { RemoteFile, StoredFile } from '../remote-file.js'
import type { ByteRange } from '../types.js'
import { streamChunks } from './whole-stream.js'
import type { Downloading } from './download-context.js'

/** Failures after which everything is thrown away and fetched once more; of a file that was complete once, the lost chunks are. */
const startOver = new Set(['hash-mismatch', 'file-changed', 'download-restarted'])
/** Failures after which the download goes on from what is stored, once. */
const goOn = new Set(['chunk-lost', 'hash-thread-lost'])

/** Puts the chunks that are missing into the writer, from wherever they come. */
export type Fill = (writer: ChunkWriter, meter: ProgressMeter, signal: AbortSignal) => Promise<void>

/** Fills a file from its server. */
export function fromServer(context: Downloading, file: RemoteFile): Fill {
  return (writer, meter, signal) => fetchMissing(context, file, writer, meter, signal)
}

/**
 * Resolves when every chunk of the file is in the store and its record says complete. `onDownloading` is given the file while it comes; the
 * caller ends it when this settles.
 * @throws HubError, StorageError, AbortError
 */
export async function completeFile(
  context: Downloading,
  file: StoredFile,
  fill: Fill,
  meter: ProgressMeter,
  signal: AbortSignal,
  onDownloading?: (arriving: DownloadingFile) => void,
): Promise<void> {
  let arriving: DownloadingFile | undefined
  for (let again = false; ; again = true) {
    let writer: ChunkWriter | undefined
    try {
      const { store, settings, createHasher, copies } = context
      writer = await ChunkWriter.open(store, file, settings.chunkBytes, context.now(), createHasher, copies)
      if (onDownloading !== undefined && !again) {
        const early = new DownloadingFile(context.store, file, writer.chunkBytes, writer.present)
        writer.onStored = (index) => early.stored(index)
        arriving = early
        onDownloading(early)
      }
      meter.begin(writer.bytesHere)
      await fill(writer, meter, signal)
      await writer.finish(context.now(), () => meter.verifying())
      return
    } catch (error) {
      if (!isAquatintError(error) || !(goOn.has(error.code) || startOver.has(error.code))) throw error
      arriving?.fail(downloadRestarted(file))
      // A lost chunk has been taken out already; wrong bytes put all of them in doubt, but not those of a file that was right once.
      if (startOver.has(error.code) && writer?.isRepairing !== true) {
        await context.store.deleteRecord(fileRecordKey(file.key))
        await context.store.deleteChunks(file.key)
      }
      // Other content under the same address: only a new look at the address can tell what it is now.
      if (again || error.code === 'file-changed') throw error
    } finally {
      writer?.close()
    }
  }
}

async function fetchMissing(
  context: Downloading,
  file: RemoteFile,
  writer: ChunkWriter,
  meter: ProgressMeter,
  signal: AbortSignal,
): Promise<void> {
  if (writer.missing.length === 0) return
  try {
    await fetchInPieces(context, file, writer, meter, signal)
  } catch (error) {
    // Some servers gzip whatever is asked for, which browsers refuse of a range without a word: there a plain request may still work.
    const mute = isAquatintError(error) && error.code === 'network' && !file.location.answered
    if (!mute && !(error instanceof RangesIgnored)) throw error
    meter.begin(writer.bytesHere)
    await streamChunks(context, file, writer, meter, signal)
  }
}

interface OpenChunk {
  readonly index: number
  readonly begin: number
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly release: () => void
  missing: number
}

async function fetchInPieces(
  context: Downloading,
  file: RemoteFile,
  writer: ChunkWriter,
  meter: ProgressMeter,
  outer: AbortSignal,
): Promise<void> {
  const { settings, budget, store } = context
  const ending = new AbortController()
  const signal = AbortSignal.any([outer, ending.signal])
  const open = new Set<OpenChunk>()
  const storing = new Set<Promise<void>>()

  async function* pieces(): AsyncGenerator<{ chunk: OpenChunk; piece: ByteRange }> {
    for (const index of writer.missing) {
      const range = chunkRange(index, file.size, writer.chunkBytes)
      const length = range.end - range.begin
      const release = await budget.claim(length, signal)
      const chunk = { index, begin: range.begin, bytes: new Uint8Array(length), release, missing: length }
      open.add(chunk)
      for (const piece of splitRange(range, settings.pieceBytes)) yield { chunk, piece }
    }
  }

  const close = (chunk: OpenChunk) => {
    if (open.delete(chunk)) chunk.release()
  }
  const keep = async (chunk: OpenChunk) => {
    try {
      await writer.put(chunk.index, chunk.bytes, () => close(chunk))
      if (store.isInMemory(file.key)) meter.notKept()
    } catch (error) {
      ending.abort(error)
      throw error
    }
  }
  const source = pieces()
  const slot = async () => {
    try {
      for (;;) {
        const next = await source.next()
        if (next.done === true) return
        const { chunk, piece } = next.value
        const target = chunk.bytes.subarray(piece.begin - chunk.begin, piece.end - chunk.begin)
        await fetchPiece(context, file, piece, target, signal, (count) => meter.add(count))
        chunk.missing -= target.length
        if (chunk.missing > 0) continue
        const kept = keep(chunk)
        storing.add(kept)
        // Its failure ends the download through `ending`, and is thrown by the wait below.
        kept.catch(() => {}).finally(() => storing.delete(kept))
      }
    } catch (error) {
      ending.abort(error)
      throw error
    }
  }
  const failed = (await Promise.allSettled(Array.from({ length: settings.maxStreams }, slot))).find(
    (result) => result.status === 'rejected',
  )
  const unstored = (await Promise.allSettled(storing)).find((result) => result.status === 'rejected')
  for (const chunk of open) close(chunk)
  if (outer.aborted) throw abortError(outer)
  if (ending.signal.aborted) throw ending.signal.reason
  const problem = failed ?? unstored
  if (problem !== undefined) throw problem.reason
}
