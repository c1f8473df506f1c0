/**
 * Takes the chunks of one file as they arrive, in any order: stores them, keeps their digests, and hashes the whole file in order as far
 * as its chunks are here. After each chunk the record says how far it got, so that a restart goes on from there.
 */

import { HubError, StorageError } from '../../errors.js'
import { freeBytes } from '../../util/free-bytes.js'
import { readBlob } from '../cache/cached-source.js'
import { chunkRange } from '../chunk-layout.js'
import { FileHasher, sha256Hex, type CreateHasher, type Hasher } from '../cache/file-hasher.js'
import { asFileRecord, fileRecordKey, newFileRecord, type FileRecord } from '../cache/file-record.js'
import type { LayeredStore } from '../cache/layered-store.js'
import { DownloadMemory } from './download-memory.js'
import { isAddressKey, type StoredFile } from '../remote-file.js'

/** Chunks that came before their turn and wait in memory for the hash. More of them are read back from the store. */
const earlyChunks = 2

/** Bytes of a stored chunk that are read back at a time. */
const backBytes = 2 << 20

interface EarlyChunk {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly onDone: () => void
}

export class ChunkWriter {
  readonly #store: LayeredStore
  readonly #file: StoredFile
  #record: FileRecord
  /** Indexes of the chunks that are stored. */
  readonly #present: Set<number>
  readonly #digests: string[]
  /** Absent where there is no hash to compare with. */
  readonly #hasher: Hasher | undefined
  #hashed: number
  readonly #copies: DownloadMemory
  readonly #early = new Map<number, EarlyChunk>()
  #tail: Promise<void> = Promise.resolve()
  /** Told of each chunk that was stored. */
  onStored: (index: number) => void = () => {}

  private constructor(
    store: LayeredStore,
    file: StoredFile,
    record: FileRecord,
    present: Set<number>,
    copies: DownloadMemory,
    hasher: Hasher | undefined,
    hashed: number,
  ) {
    this.#store = store
    this.#file = file
    this.#record = record
    this.#present = present
    this.#digests = [...record.digests]
    this.#copies = copies
    this.#hasher = hasher
    this.#hashed = hashed
  }

  /** Looks at what is stored and goes on from it. `copies` limits the chunks of all files that are being hashed and stored at once. */
  static async open(
    store: LayeredStore,
    file: StoredFile,
    chunkBytes: number,
    now: number,
    createHasher: CreateHasher = FileHasher.create,
    copies = new DownloadMemory(Infinity),
  ): Promise<ChunkWriter> {
    const kept = await keptRecord(store, file)
    const usable = kept !== undefined && kept.provisional !== true && kept.size === file.size && isOfSameContent(kept, file)
    const record = usable ? kept : newFileRecord(file, chunkBytes, now)
    const present = usable ? await soundChunks(store, file, record) : new Set<number>()
    if (!usable) {
      await store.deleteChunks(file.key)
      // Before the first chunk: chunks without a record count as nobody's.
      await store.putRecord(fileRecordKey(file.key), record)
    }
    const algorithm = file.hash?.algorithm
    if (algorithm === undefined) return new ChunkWriter(store, file, record, present, copies, undefined, 0)
    const hashed = record.hashed
    if (hashed !== undefined && firstGap(present) >= hashed.chunks) {
      try {
        const hasher = await createHasher(algorithm, file.size, hashed.state)
        return new ChunkWriter(store, file, record, present, copies, hasher, hashed.chunks)
      } catch {
        // The state is of another build of the hasher: hash from the start.
      }
    }
    return new ChunkWriter(store, file, record, present, copies, await createHasher(algorithm, file.size), 0)
  }

  /** Whether the file was complete once: what comes now are chunks that were lost of it, each checked by its own digest. */
  get isRepairing(): boolean {
    return this.#record.state === 'complete'
  }

  get chunkBytes(): number {
    return this.#record.chunkBytes
  }

  /** Chunks that are not here, in order. */
  get missing(): number[] {
    return this.#digests.flatMap((_, index) => (this.#present.has(index) ? [] : [index]))
  }

  /** Indexes of the chunks that are here. */
  get present(): ReadonlySet<number> {
    return this.#present
  }

  /** Bytes that are here. */
  get bytesHere(): number {
    return [...this.#present].reduce((sum, index) => sum + this.#length(index), 0)
  }

  /**
   * Stores one chunk, and takes its bytes: they may be empty afterwards. `onDone` is called when they are let go, which may be after the
   * promise has resolved, and is not where the writer is closed before.
   * @throws HubError `hash-mismatch` when a file known to be right once had another chunk here
   */
  async put(index: number, bytes: Uint8Array<ArrayBuffer>, onDone: () => void = () => {}): Promise<void> {
    const known = this.#digests[index]
    // A chunk that was stored just before a worker died has no digest.
    const repaired = this.isRepairing && known !== '' ? known : undefined
    // The browser copies the bytes for a digest, and again for a Blob.
    const release = await this.#copies.claim(bytes.length)
    try {
      const digest = await sha256Hex(bytes)
      // A mended chunk must be the one that was lost, and is stored only once that is known.
      if (repaired !== undefined) checkHash(this.#file, repaired, digest)
      await this.#store.putChunk(this.#file.key, index, bytes)
      this.#digests[index] = digest
    } finally {
      release()
    }
    this.#present.add(index)
    this.onStored(index)
    this.#early.set(index, { bytes, onDone })
    if (repaired !== undefined || this.#hasher === undefined || index < this.#hashed) this.#drop(index)
    else if (this.#early.size > earlyChunks) this.#drop(Math.max(...this.#early.keys()))
    if (repaired === undefined) await this.#serially(() => this.#advance())
  }

  /** Says whether what is stored from now on is of use to another run: not while it is made from bytes that may turn out wrong. */
  async setProvisional(provisional: boolean): Promise<void> {
    await this.#serially(async () => {
      this.#record = { ...this.#record, provisional: provisional ? true : undefined }
      await this.#store.putRecord(fileRecordKey(this.#file.key), this.#record)
    })
  }

  /** Compares the whole file's hash, then writes the record that says it is complete. @throws HubError `hash-mismatch` */
  async finish(now: number, onVerifying: () => void): Promise<void> {
    if (this.isRepairing) return
    const { hash, key } = this.#file
    if (hash !== undefined && this.#hashed < this.#digests.length) onVerifying()
    await this.#serially(() => this.#advance())
    if (hash !== undefined) checkHash(this.#file, hash.hex, (await this.#hasher?.digest()) ?? '')
    const complete = {
      ...this.#record,
      digests: this.#digests,
      hashed: undefined,
      state: 'complete',
      verified: hash !== undefined,
      lastUsed: now,
    } as const
    if (this.#store.isInMemory(key)) await this.#store.putRecordInMemory(fileRecordKey(key), complete)
    else await this.#store.putRecord(fileRecordKey(key), complete)
  }

  /** Lets go of the hasher and of all bytes. */
  close(): void {
    this.#hasher?.close()
    for (const index of this.#early.keys()) this.#drop(index)
  }

  #drop(index: number): void {
    const early = this.#early.get(index)
    if (early === undefined) return
    this.#early.delete(index)
    freeBytes(early.bytes)
    early.onDone()
  }

  #serially(run: () => Promise<void>): Promise<void> {
    const next = this.#tail.then(run)
    this.#tail = next.catch(() => {})
    return next
  }

  /** Hashes on from where the hash stands, as far as chunks are here, and writes down how far that is. */
  async #advance(): Promise<void> {
    const hasher = this.#hasher
    let hashed: FileRecord['hashed']
    if (hasher !== undefined) {
      for (; this.#present.has(this.#hashed); this.#hashed++) {
        const index = this.#hashed
        const early = this.#early.get(index)
        if (early === undefined) await this.#hashStored(hasher, index)
        else await hasher.update(early.bytes)
        this.#drop(index)
      }
      if (this.#hashed > 0) hashed = { chunks: this.#hashed, state: hasher.save() }
    }
    this.#record = { ...this.#record, digests: [...this.#digests], hashed }
    await this.#store.putRecord(fileRecordKey(this.#file.key), this.#record)
  }

  /** Hashes a chunk that is in memory no more, in pieces, and notes its digest where that is not known. */
  async #hashStored(hasher: Hasher, index: number): Promise<void> {
    const length = this.#length(index)
    const blob = await this.#store.chunk(this.#file.key, index).catch(() => undefined)
    const own = this.#digests[index] === '' ? await FileHasher.create('sha256', length) : undefined
    for (let at = 0; at < length; at += backBytes) {
      const end = Math.min(length, at + backBytes)
      const bytes = blob === undefined ? undefined : await readBlob(blob, at, end)
      if (bytes === undefined) {
        await this.#store.deleteChunks(this.#file.key, [index])
        throw new StorageError('chunk-lost', `A stored part of ${this.#file.path} is gone`, { path: this.#file.path, index })
      }
      await own?.update(bytes)
      await hasher.update(bytes)
      freeBytes(bytes)
    }
    if (own !== undefined) this.#digests[index] = await own.digest()
  }

  #length(index: number): number {
    const { begin, end } = chunkRange(index, this.#file.size, this.#record.chunkBytes)
    return end - begin
  }
}

/** The record of a file, where there is one. A file whose record cannot be read is made anew in memory: its chunks may well be sound. */
async function keptRecord(store: LayeredStore, { key }: StoredFile): Promise<FileRecord | undefined> {
  try {
    return asFileRecord(await store.recordOrThrow(fileRecordKey(key)))
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    store.isolate(key)
    return undefined
  }
}

/** Whether stored chunks can be gone on from. */
function isOfSameContent(kept: FileRecord, { hash, key, validator }: StoredFile): boolean {
  if (hash !== undefined) return true
  // Behind an address, other content can be told by the validator alone; of a complete file, by the digest of each chunk as well.
  const marked = !isAddressKey(key) || validator !== undefined || kept.state === 'complete'
  return marked && kept.validator === validator
}

/** Indexes of stored chunks of the right length. */
async function soundChunks(store: LayeredStore, file: StoredFile, record: FileRecord): Promise<Set<number>> {
  const sound = new Set<number>()
  for (const [index, blob] of await store.chunks(file.key)) {
    const { begin, end } = chunkRange(index, file.size, record.chunkBytes)
    if (index < record.digests.length && blob.size === end - begin) sound.add(index)
  }
  return sound
}

function firstGap(present: ReadonlySet<number>): number {
  let index = 0
  while (present.has(index)) index++
  return index
}

/** The one place where a hash decides. @throws HubError `hash-mismatch` */
function checkHash(file: StoredFile, expected: string, actual: string): void {
  if (actual === expected) return
  throw new HubError(
    'hash-mismatch',
    `${file.repository}: ${file.path} is not what its repository lists: its hash is ${actual}, not ${expected}`,
    { path: file.path, expected, actual },
  )
}
