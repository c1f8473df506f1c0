/**
 * Files that are not downloaded but made: tensors of other files, each passed through whatever its source does to it when read (a cast,
 * a quantisation), one after the other in one file of the cache. Made once, chunk by chunk, so that it can go on after a restart and
 * needs the memory of a chunk, whatever the size of a tensor.
 */

import { InputError } from '../errors.js'
import { chunkRange } from './chunk-layout.js'
import type { Fill } from './download-file.js'
import { sha256Hex } from './file-hasher.js'
import type { Hub, OpenedFile } from './hub.js'
import { keyOfContent, type StoredFile } from './remote-file.js'
import type { ByteRange, ByteSource, OpenOptions } from './types.js'

/** One tensor on its way into a prepared file: the bytes `begin` to `end` of its source. */
interface PreparedPart {
  readonly name: string
  readonly source: ByteSource
  readonly begin: number
  readonly end: number
}

export interface Preparation {
  /** Shown in progress and in the cache's list. */
  readonly name: string
  /**
   * All that decides the bytes besides the contents they are made from: the kind of conversion, its options, its version, the names and
   * types of the tensors.
   */
  readonly recipe: string
  /** `contentKey` of every file that is read. */
  readonly contents: readonly string[]
  readonly parts: readonly PreparedPart[]
}

export interface PreparedFile extends OpenedFile {
  /** Where each part lies in the file, by its name. */
  readonly ranges: ReadonlyMap<string, ByteRange>
}

/** The prepared file, from the cache or made now. @throws InputError `bad-preparation`, and whatever the parts' sources throw */
export async function openPrepared(hub: Hub, preparation: Preparation, options: OpenOptions = {}): Promise<PreparedFile> {
  const ranges = layOut(preparation.parts)
  const size = [...ranges.values()].at(-1)?.end ?? 0
  const identity = JSON.stringify([preparation.recipe, preparation.contents, [...ranges]])
  const key = `prepared:${await sha256Hex(new TextEncoder().encode(identity))}`
  const madeFrom = preparation.contents.map(keyOfContent)
  const file: StoredFile = { repository: 'prepared', path: preparation.name, size, key, madeFrom }
  const whole = new JoinedSource(preparation.parts, ranges, size)
  const fill: Fill = async (writer, meter, signal) => {
    for (const index of writer.missing) {
      const range = chunkRange(index, size, writer.chunkBytes)
      const release = await hub.budget.claim(range.end - range.begin, signal)
      try {
        await writer.put(index, await whole.read(range, { signal }))
        meter.add(range.end - range.begin)
        if (hub.store.isInMemory(key)) meter.notKept()
      } finally {
        release()
      }
    }
  }
  return { ...(await hub.openFile(file, fill, options)), ranges }
}

function layOut(parts: readonly PreparedPart[]): Map<string, ByteRange> {
  const ranges = new Map<string, ByteRange>()
  let at = 0
  for (const { name, source, begin, end } of parts) {
    if (ranges.has(name) || begin < 0 || end < begin || end > source.byteLength) {
      throw new InputError('bad-preparation', `Part ${JSON.stringify(name)} is there twice or outside its source`, {
        part: name,
        begin,
        end,
      })
    }
    ranges.set(name, { begin: at, end: at + end - begin })
    at += end - begin
  }
  return ranges
}

/** The parts one after the other. */
class JoinedSource implements ByteSource {
  readonly byteLength: number
  readonly #parts: readonly PreparedPart[]
  readonly #ranges: ReadonlyMap<string, ByteRange>

  constructor(parts: readonly PreparedPart[], ranges: ReadonlyMap<string, ByteRange>, byteLength: number) {
    this.#parts = parts
    this.#ranges = ranges
    this.byteLength = byteLength
  }

  async read({ begin, end }: ByteRange, options: { signal: AbortSignal }): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(end - begin)
    for (const part of this.#parts) {
      const place = this.#ranges.get(part.name)
      if (place === undefined) continue
      const from = Math.max(begin, place.begin)
      const to = Math.min(end, place.end)
      if (from >= to) continue
      const shift = part.begin - place.begin
      bytes.set(await part.source.read({ begin: from + shift, end: to + shift }, options), from - begin)
    }
    return bytes
  }
}
