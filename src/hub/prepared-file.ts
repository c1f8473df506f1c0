/**
 * Prepared files: files of the cache that are made here instead of downloaded. Each holds tensors of other files one after the other, as
 * their sources return them (cast or quantized). A prepared file is made once, chunk by chunk: after a restart the
 * work resumes, and it needs the memory of one chunk whatever the size of a tensor.
 */

import { InputError } from '../errors.js'
import { chunkRange } from './chunk-layout.js'
import { deferred } from '../util/deferred.js'
import type { Fill } from './downloads/download-services.js'
import { sha256Hex } from './cache/file-hasher.js'
import { orAbort } from '../util/abort.js'
import { freeBytes } from '../util/free-bytes.js'
import type { OpenedFile } from './downloads/file-opener.js'
import type { Hub } from './hub.js'
import { keyOfContent, type StoredFile } from './stored-file.js'
import type { ByteRange, ByteSource, OpenOptions, ReadOptions } from './types.js'

/** One tensor that a prepared file is to hold: the bytes `begin` to `end` of its source. */
interface PreparedPart {
  readonly name: string
  readonly source: ByteSource
  readonly begin: number
  readonly end: number
}

/** The content of a prepared file. */
export interface PreparedFileSpec {
  /** The file's name in progress events and in the list of cached files. */
  readonly name: string
  /**
   * Everything that decides the bytes except the contents they are made from: the kind of conversion, its options and its version, and the
   * names and types of the tensors.
   */
  readonly recipe: string
  /** The `contentKey` of every file that is read. */
  readonly contents: readonly string[]
  readonly parts: readonly PreparedPart[]
  /**
   * Resolves when every file that is read is verified; absent if all of them are verified already. Until then no later run uses the
   * prepared file.
   */
  readonly verified?: ((options: ReadOptions) => Promise<void>) | undefined
}

/** A prepared file in use. */
export interface PreparedFile extends OpenedFile {
  /** Where each part is in the file, by the part's name. */
  readonly ranges: ReadonlyMap<string, ByteRange>
}

/** Opens the prepared file from the cache, or makes it. @throws InputError `bad-preparation`, and whatever the parts' sources throw */
export async function openPrepared(hub: Hub, preparation: PreparedFileSpec, options: OpenOptions = {}): Promise<PreparedFile> {
  const ranges = layOut(preparation.parts)
  const size = [...ranges.values()].at(-1)?.end ?? 0
  const identity = JSON.stringify([preparation.recipe, preparation.contents, [...ranges]])
  const key = `prepared:${await sha256Hex(new TextEncoder().encode(identity))}`
  const madeFrom = preparation.contents.map(keyOfContent)
  const file: StoredFile = { repository: 'prepared', path: preparation.name, size, key, madeFrom }
  const whole = new JoinedSource(preparation.parts, ranges, size)
  const { verified } = preparation
  let isVerified = verified === undefined
  const fill: Fill = async (writer, meter, signal) => {
    if (!isVerified) await writer.setProvisional(true)
    const rangeOf = (index: number) => chunkRange(index, size, writer.chunkBytes)
    for await (const index of inOrderOfArrival(writer.missing, (chunk) => whole.arrived(rangeOf(chunk)), signal)) {
      const range = rangeOf(index)
      const release = await hub.memory.claim(range.end - range.begin, signal)
      try {
        await writer.put(index, await whole.read(range, { signal }))
        meter.add(range.end - range.begin)
        if (hub.store.isInMemory(key)) meter.notKept()
      } finally {
        release()
      }
    }
    if (isVerified) return
    await verified?.({ signal })
    isVerified = true
    await writer.setProvisional(false)
  }
  return { ...(await hub.openFile(file, fill, options)), ranges }
}

/** Places the parts one after the other. @throws InputError `bad-preparation` */
function layOut(parts: readonly PreparedPart[]): Map<string, ByteRange> {
  const ranges = new Map<string, ByteRange>()
  let at = 0
  for (const { name, source, begin, end } of parts) {
    if (ranges.has(name) || begin < 0 || end < begin || end > source.byteLength) {
      throw new InputError(
        'bad-preparation',
        `The part ${JSON.stringify(name)} of a prepared file occurs twice, or its bytes ${begin} to ${end} are outside its source.`,
        {
          part: name,
          begin,
          end,
        },
      )
    }
    ranges.set(name, { begin: at, end: at + end - begin })
    at += end - begin
  }
  return ranges
}

/**
 * Yields each index once its bytes have arrived. If several indexes are ready, the lowest one comes first. No memory is claimed while it
 * waits.
 */
async function* inOrderOfArrival(
  indexes: readonly number[],
  arrived: (index: number) => Promise<void>,
  signal: AbortSignal,
): AsyncGenerator<number> {
  const ready = new Set<number>()
  const failed: unknown[] = []
  let wake = deferred()
  for (const index of indexes) {
    arrived(index)
      .then(
        () => ready.add(index),
        (error: unknown) => failed.push(error),
      )
      .finally(() => wake.resolve())
  }
  for (let left = indexes.length; left > 0; left--) {
    while (ready.size === 0 && failed.length === 0) {
      await orAbort(wake.promise, signal)
      wake = deferred()
    }
    if (failed.length > 0) throw failed[0]
    const next = Math.min(...ready)
    ready.delete(next)
    yield next
  }
}

/** The parts one after the other, as one byte source. */
class JoinedSource implements ByteSource {
  readonly byteLength: number
  readonly #parts: readonly PreparedPart[]
  readonly #ranges: ReadonlyMap<string, ByteRange>

  constructor(parts: readonly PreparedPart[], ranges: ReadonlyMap<string, ByteRange>, byteLength: number) {
    this.#parts = parts
    this.#ranges = ranges
    this.byteLength = byteLength
  }

  async read(range: ByteRange, options: { signal: AbortSignal }): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(range.end - range.begin)
    for (const { source, at, needed } of this.#within(range)) {
      const part = await source.read(needed, options)
      if (part.length === bytes.length) return part
      bytes.set(part, at)
      freeBytes(part)
    }
    return bytes
  }

  async arrived(range: ByteRange): Promise<void> {
    for (const { source, needed } of this.#within(range)) await source.arrived?.(needed)
  }

  /** The bytes of each part that a range needs, and where they go in the range. */
  *#within({ begin, end }: ByteRange): Generator<{ source: ByteSource; at: number; needed: ByteRange }> {
    for (const part of this.#parts) {
      const place = this.#ranges.get(part.name)
      if (place === undefined) continue
      const from = Math.max(begin, place.begin)
      const to = Math.min(end, place.end)
      if (from >= to) continue
      const shift = part.begin - place.begin
      yield { source: part.source, at: from - begin, needed: { begin: from + shift, end: to + shift } }
    }
  }
}
