/**
 * Takes the chunks of one file in the order in which they arrive: stores each with its digest, and hashes the whole file in file order as
 * far as its chunks are present. After each chunk the file's record is updated, so that a restart resumes from there.
 */

import { HubError, StorageError } from '../../errors.js'
import { freeBytes } from '../../util/free-bytes.js'
import { readBlob } from '../cache/cached-source.js'
import { FileHasher, sha256Hex, type CreateHasher, type Hasher } from '../cache/file-hasher.js'
import { fileRecordKey, type FileRecord } from '../cache/file-record.js'
import type { LayeredStore } from '../cache/layered-store.js'
import { chunkRange } from '../chunk-layout.js'
import type { StoredFile } from '../stored-file.js'
import type { ByteRange } from '../types.js'
import { asChunkParts, joinRanges, partLength, restoreRanges, type ChunkPart } from '../cache/chunk-parts.js'
import { DownloadMemory } from './download-memory.js'
import { EarlyChunks } from './early-chunks.js'
import { openStoredProgress, type StoredProgress } from './stored-progress.js'

/** Bytes of a stored chunk that are read back at a time. */
const readBackBytes = 2 << 20

/** The arguments of a writer. */
export interface ChunkWriterOptions {
  readonly store: LayeredStore
  readonly file: StoredFile
  /** Length of a chunk, for a file of which nothing is stored yet. */
  readonly chunkBytes: number
  /** Indexes of the chunks to store. Default: all. */
  readonly wanted?: ReadonlySet<number> | undefined
  /** Milliseconds since 1970. */
  readonly now: number
  /** Default: a hasher in this thread. */
  readonly createHasher?: CreateHasher | undefined
  /** Limits the bytes that are hashed and stored at once, over all files. Default: no limit. */
  readonly copyMemory?: DownloadMemory | undefined
}

/** The hash of a whole file, as far as it has been computed. */
interface FileHash {
  /** Undefined when there is no hash to compare with. */
  readonly hasher: Hasher | undefined
  /** Number of chunks that the hasher has read, from the first on. */
  readonly hashed: number
}

/** Writes one file into the store. */
export class ChunkWriter {
  readonly #store: LayeredStore
  readonly #file: StoredFile
  readonly #copyMemory: DownloadMemory
  #record: FileRecord
  readonly #present: Set<number>
  readonly #wanted: ReadonlySet<number> | undefined
  readonly #digests: string[]
  readonly #hasher: Hasher | undefined
  #hashed: number
  /** The parts of chunks that an aborted download left, by the chunk's index. */
  readonly #parts: Map<number, ChunkPart>
  readonly #early = new EarlyChunks()
  /** Settles with the last queued task: tasks of one writer run one at a time. */
  #tail: Promise<void> = Promise.resolve()
  /** Receives the index of each chunk that was stored. */
  onStored: (index: number) => void = () => {}

  private constructor(options: ChunkWriterOptions, { record, present }: StoredProgress, { hasher, hashed }: FileHash) {
    this.#store = options.store
    this.#file = options.file
    this.#copyMemory = options.copyMemory ?? new DownloadMemory(Infinity)
    this.#record = record
    this.#present = present
    this.#wanted = options.wanted
    this.#digests = [...record.digests]
    this.#hasher = hasher
    this.#hashed = hashed
    const chunkOf = (index: number) =>
      index in this.#digests && !present.has(index) ? chunkRange(index, options.file.size, record.chunkBytes) : undefined
    this.#parts = new Map(asChunkParts(record.parts, chunkOf).map((part) => [part.index, part]))
  }

  /** Opens a writer that resumes from what is stored of the file. */
  static async open(options: ChunkWriterOptions): Promise<ChunkWriter> {
    const { store, file, chunkBytes, now } = options
    const progress = await openStoredProgress(store, file, chunkBytes, now)
    return new ChunkWriter(options, progress, await resumeHash(options, progress))
  }

  /** Whether the file was complete before. If so, each chunk that was lost is checked against its own digest. */
  get isRepairing(): boolean {
    return this.#record.state === 'complete'
  }

  get chunkBytes(): number {
    return this.#record.chunkBytes
  }

  /** Indexes of the wanted chunks that are not present, in order. */
  get missing(): number[] {
    return this.#digests.flatMap((_, index) => (this.#present.has(index) || !this.#isWanted(index) ? [] : [index]))
  }

  /** Indexes of the chunks that are present. */
  get present(): ReadonlySet<number> {
    return this.#present
  }

  /** Bytes that are present: of whole wanted chunks, and of parts of the other wanted chunks. */
  get bytesPresent(): number {
    const parts = [...this.#parts.values()].filter(({ index }) => this.#isWanted(index))
    const inParts = parts.reduce((sum, { ranges }) => sum + partLength(ranges), 0)
    const whole = [...this.#present].filter((index) => this.#isWanted(index))
    return whole.reduce((sum, index) => sum + this.#length(index), inParts)
  }

  #isWanted(index: number): boolean {
    return this.#wanted?.has(index) !== false
  }

  /** Whether this download has yet to hash a chunk: it hashes in file order, up to the first chunk that is absent and not wanted. */
  #willHash(index: number): boolean {
    for (let before = this.#hashed; before < index; before++)
      if (!this.#present.has(before) && !this.#isWanted(before)) return false
    return index >= this.#hashed
  }

  /** Reads what an aborted download left of a chunk into `target`, which is as long as the chunk. Returns the ranges of the file that it filled. */
  async takePart(index: number, target: Uint8Array): Promise<readonly ByteRange[]> {
    const ranges = this.#parts.get(index)?.ranges
    const joined = ranges === undefined ? undefined : await this.#store.chunk(this.#file.key, index)
    if (ranges === undefined || joined === undefined) return []
    const { begin } = chunkRange(index, this.#file.size, this.#record.chunkBytes)
    return (await restoreRanges(joined, ranges, target, begin)) ? ranges : []
  }

  /**
   * After a download was aborted or its connection failed, stores the parts of unfinished chunks that have arrived, for the next download. Does nothing if the browser
   * cannot store the file, or if the file was complete before.
   */
  async keepParts(parts: readonly (ChunkPart & { readonly bytes: Uint8Array })[]): Promise<void> {
    const { key, size } = this.#file
    if (this.isRepairing || this.#store.isInMemory(key)) return
    await this.#serially(async () => {
      for (const { index, ranges, bytes } of parts) {
        const { begin } = chunkRange(index, size, this.#record.chunkBytes)
        await this.#store.putChunk(key, index, joinRanges(bytes, begin, ranges))
        this.#parts.set(index, { index, ranges })
      }
      await this.#putRecord({})
    })
  }

  /**
   * Stores one chunk. The writer owns `bytes` from then on and may detach their buffer. It calls `onReleased` when it no longer needs
   * the bytes, which may be after the promise has resolved.
   * @throws HubError `hash-mismatch` when the record has another digest for the chunk. Only if the file was complete or the chunk was
   * chosen before are the digests compared.
   */
  async put(index: number, bytes: Uint8Array<ArrayBuffer>, onReleased: () => void = () => {}): Promise<void> {
    const known = this.#digests[index]
    // A chunk has no digest if the worker died right after storing it.
    const isRestored = this.isRepairing || this.#record.chosen?.includes(index) === true
    const expected = isRestored && known !== '' ? known : undefined
    // The browser copies the bytes for the digest, and once more for the Blob.
    const release = await this.#copyMemory.claim(bytes.length)
    try {
      const digest = await sha256Hex(bytes)
      if (expected !== undefined) checkHash(this.#file, expected, digest)
      await this.#store.putChunk(this.#file.key, index, bytes)
      this.#digests[index] = digest
    } finally {
      release()
    }
    this.#present.add(index)
    this.#parts.delete(index)
    this.onStored(index)
    this.#early.add(index, bytes, onReleased)
    const isChecked = this.isRepairing && expected !== undefined
    if (isChecked || this.#hasher === undefined || !this.#willHash(index)) this.#early.release(index)
    else this.#early.releaseSurplus()
    if (!isChecked) await this.#serially(() => this.#hashPresent())
  }

  /**
   * With `true`, marks the stored chunks as usable by this writer only, because they are made from bytes that are not verified yet.
   * With `false`, removes this mark.
   */
  async setProvisional(provisional: boolean): Promise<void> {
    await this.#serially(async () => {
      this.#record = { ...this.#record, provisional: provisional ? true : undefined }
      await this.#store.putRecord(fileRecordKey(this.#file.key), this.#record)
    })
  }

  /**
   * Compares the hash of the whole file, if a hash is known, then stores the record that says the file is complete. Calls `onVerifying` if
   * chunks remain to be hashed. If the download left out chunks, no hash is compared, and the record lists the chosen chunks. Does nothing
   * if the file was complete before.
   * @param now milliseconds since 1970
   * @throws HubError `hash-mismatch`
   */
  async finish(now: number, onVerifying: () => void): Promise<void> {
    if (this.isRepairing) return
    const { hash, key } = this.#file
    if (this.#present.size < this.#digests.length) {
      await this.#serially(() => this.#finishPart(now))
      return
    }
    if (hash !== undefined && this.#hashed < this.#digests.length) onVerifying()
    await this.#serially(() => this.#hashPresent())
    if (hash !== undefined) checkHash(this.#file, hash.hex, (await this.#hasher?.digest()) ?? '')
    const complete = {
      ...this.#record,
      digests: this.#digests,
      hashed: undefined,
      parts: undefined,
      chosen: undefined,
      state: 'complete',
      verified: hash !== undefined,
      lastUsed: now,
    } as const
    if (this.#store.isInMemory(key)) await this.#store.putRecordInMemory(fileRecordKey(key), complete)
    else await this.#store.putRecord(fileRecordKey(key), complete)
  }

  /** Stores in the record that every wanted chunk is present. */
  async #finishPart(now: number): Promise<void> {
    const { key } = this.#file
    const chosen = [...new Set([...(this.#record.chosen ?? []), ...(this.#wanted ?? [])])].sort((a, b) => a - b)
    this.#record = { ...this.#record, digests: [...this.#digests], chosen, lastUsed: now }
    if (this.#store.isInMemory(key)) await this.#store.putRecordInMemory(fileRecordKey(key), this.#record)
    else await this.#store.putRecord(fileRecordKey(key), this.#record)
  }

  /** Releases the hasher and all bytes. */
  close(): void {
    this.#hasher?.close()
    this.#early.releaseAll()
  }

  #serially(run: () => Promise<void>): Promise<void> {
    const next = this.#tail.then(run)
    this.#tail = next.catch(() => {})
    return next
  }

  /** Continues the hash as far as chunks are present, and stores its state. */
  async #hashPresent(): Promise<void> {
    const hasher = this.#hasher
    let hashed: FileRecord['hashed']
    if (hasher !== undefined) {
      for (; this.#present.has(this.#hashed); this.#hashed++) {
        const index = this.#hashed
        const bytes = this.#early.bytes(index)
        if (bytes === undefined) await this.#hashStored(hasher, index)
        else await hasher.update(bytes)
        this.#early.release(index)
      }
      if (this.#hashed > 0) hashed = { chunks: this.#hashed, state: hasher.save() }
    }
    await this.#putRecord({ hashed })
  }

  async #putRecord(changes: Pick<FileRecord, 'hashed'>): Promise<void> {
    const parts = this.#parts.size === 0 ? undefined : [...this.#parts.values()]
    this.#record = { ...this.#record, digests: [...this.#digests], parts, ...changes }
    await this.#store.putRecord(fileRecordKey(this.#file.key), this.#record)
  }

  /**
   * Hashes a chunk that only the store holds, reading it in parts. Also computes the chunk's digest if it has none.
   * @throws StorageError `chunk-lost`
   */
  async #hashStored(hasher: Hasher, index: number): Promise<void> {
    const { key, path } = this.#file
    const length = this.#length(index)
    const blob = await this.#store.chunk(key, index).catch(() => undefined)
    const digest = this.#digests[index] === '' ? await FileHasher.create('sha256', length) : undefined
    for (let at = 0; at < length; at += readBackBytes) {
      const end = Math.min(length, at + readBackBytes)
      const bytes = blob === undefined ? undefined : await readBlob(blob, at, end)
      if (bytes === undefined) {
        await this.#store.deleteChunks(key, [index])
        const message = `The browser's storage has lost chunk ${index} of ${path}. Load the model again to download it.`
        throw new StorageError('chunk-lost', message, { path, index })
      }
      await digest?.update(bytes)
      await hasher.update(bytes)
      freeBytes(bytes)
    }
    if (digest !== undefined) this.#digests[index] = await digest.digest()
  }

  #length(index: number): number {
    const { begin, end } = chunkRange(index, this.#file.size, this.#record.chunkBytes)
    return end - begin
  }
}

/** A hasher that resumes from the stored state if the chunks hashed in it are still present, else starts at the file's beginning. */
async function resumeHash(
  { file, createHasher = FileHasher.create }: ChunkWriterOptions,
  progress: StoredProgress,
): Promise<FileHash> {
  const algorithm = file.hash?.algorithm
  if (algorithm === undefined) return { hasher: undefined, hashed: 0 }
  const { hashed } = progress.record
  if (hashed !== undefined && firstGap(progress.present) >= hashed.chunks) {
    try {
      return { hasher: await createHasher(algorithm, file.size, hashed.state), hashed: hashed.chunks }
    } catch {
      // Another build of the hasher saved the state: hash from the beginning.
    }
  }
  return { hasher: await createHasher(algorithm, file.size), hashed: 0 }
}

/** The lowest index that is not present. */
function firstGap(present: ReadonlySet<number>): number {
  let index = 0
  while (present.has(index)) index++
  return index
}

/** Compares the hash of a file, or of one of its chunks, with the expected one. @throws HubError `hash-mismatch` */
function checkHash(file: StoredFile, expected: string, actual: string): void {
  if (actual === expected) return
  const { repository, path } = file
  const message = `${repository}: the downloaded ${path} is not the file that the repository lists: its hash is ${actual}; the repository lists ${expected}.`
  throw new HubError('hash-mismatch', message, { path, expected, actual })
}
