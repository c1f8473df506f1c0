/** The download of a file whose server does not give ranges: one answer, read from its first byte to its last, cut into chunks. */

import { chunkRange } from '../chunk-layout.js'
import type { ChunkWriter } from './chunk-writer.js'
import { checkAnswer, requestFile, retrying } from '../http/piece-fetch.js'
import type { ProgressMeter } from './progress-meter.js'
import type { RemoteFile } from '../remote-file.js'
import type { Downloading } from './download-context.js'

/** Stores the chunks that are missing. Those that are here are let pass: such a server cannot leave them out. */
export async function streamChunks(
  context: Downloading,
  file: RemoteFile,
  writer: ChunkWriter,
  meter: ProgressMeter,
  signal: AbortSignal,
): Promise<void> {
  const release = await context.budget.claim(writer.chunkBytes, signal)
  let before = 0
  try {
    await retrying(
      context,
      signal,
      async () => {
        before = writer.missing.length
        await streamOnce(context, file, writer, meter, signal)
        return writer.missing.length === 0 ? true : undefined
      },
      () => writer.missing.length < before,
    )
  } finally {
    release()
  }
}

async function streamOnce(
  context: Downloading,
  file: RemoteFile,
  writer: ChunkWriter,
  meter: ProgressMeter,
  signal: AbortSignal,
): Promise<void> {
  const missing = new Set(writer.missing)
  let at = 0
  let index = 0
  let chunk = new Uint8Array(0)
  let unstored = 0
  try {
    await requestFile(context, file, undefined, signal, (answer, slot) => {
      checkAnswer(answer, file)
      return async (bytes) => {
        slot.count(bytes.length)
        for (let from = 0; from < bytes.length;) {
          const { begin, end } = chunkRange(index, file.size, writer.chunkBytes)
          const count = Math.min(bytes.length - from, end - at)
          if (missing.has(index)) {
            if (at === begin) chunk = new Uint8Array(end - begin)
            chunk.set(bytes.subarray(from, from + count), at - begin)
            unstored += count
            meter.add(count)
          }
          from += count
          at += count
          if (at < end) continue
          if (missing.has(index)) await writer.put(index, chunk)
          unstored = 0
          index++
        }
      }
    })
  } catch (error) {
    // Bytes of a chunk that was not finished come again.
    meter.add(-unstored)
    throw error
  } finally {
    if (context.store.isInMemory(file.key)) meter.notKept()
  }
}
