/**
 * A folder in which a result grows, and what is known there of how far it is. A file gets its name when it is whole: until then it is
 * `unfinished` in a hidden folder of ours, which says what the result is made of, and goes when the result is whole.
 */

import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ShardFile } from './shard-plan.js'

/** Bytes read and written at a time. */
const pieceBytes = 8 << 20

/** The hidden folder. Repositories are read without hidden files, so nothing that is copied has its name. */
const notesName = '.aquatint-shard'

/** What is remembered of a shard that is written: tensors with finite numbers that became infinite, and how many. */
export type Overflows = Readonly<Record<string, number>>

export interface WriteOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
}

export class WorkFolder {
  readonly path: string
  readonly #notes: string

  constructor(path: string) {
    this.path = path
    this.#notes = join(path, notesName)
  }

  /**
   * The fingerprint of what is being made there; '' where that cannot be told any more; undefined for a folder that is not there or
   * empty; null for one that holds something else.
   */
  async fingerprint(): Promise<string | null | undefined> {
    const names = await readdir(this.path).catch((error: NodeJS.ErrnoException): string[] => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    if (names.length === 0) return undefined
    if (!names.includes(notesName)) return null
    return readFile(join(this.#notes, 'fingerprint'), 'utf8').catch(() => '')
  }

  /** Goes on with what is there where it has this fingerprint, else empties the folder. To be asked first: {@link fingerprint}. */
  async begin(fingerprint: string): Promise<void> {
    if ((await this.fingerprint()) !== fingerprint) {
      await mkdir(this.#notes, { recursive: true })
      // The notes go last: without them nobody would know that the rest is ours.
      await rm(join(this.#notes, 'fingerprint'), { force: true })
      for (const name of await readdir(this.path)) if (name !== notesName) await rm(join(this.path, name), { recursive: true })
      await rm(join(this.#notes, 'written'), { recursive: true, force: true })
      await writeFile(join(this.#notes, 'fingerprint'), fingerprint, { flush: true })
    }
    await rm(this.#unfinished, { force: true })
  }

  /** Gives the folder its name, and says in it no more that it is unfinished. */
  async finish(out: string): Promise<void> {
    if (out !== this.path) {
      await rename(this.path, out)
      await syncFolder(dirname(out))
    }
    const notes = join(out, notesName)
    await rm(join(notes, 'written'), { recursive: true, force: true })
    await rm(join(notes, 'fingerprint'))
    await rmdir(notes)
  }

  /** After a failure: where nothing is whole nothing of ours stays. That is the folder too, unless it is the result's. */
  async discardEmpty(out: string): Promise<void> {
    if ((await readdir(this.path)).some((name) => name !== notesName)) return
    await rm(this.#notes, { recursive: true })
    if (this.path !== out) await rmdir(this.path)
  }

  /** What is known of a shard that is there whole; undefined where it is not. */
  async written(path: string, byteLength: number): Promise<Overflows | undefined> {
    if (!(await this.has(path, byteLength))) return undefined
    const note = await readFile(this.#noteOf(path), 'utf8').catch(() => '')
    try {
      return JSON.parse(note) as Overflows
    } catch {
      // Cut short by a power cut: then the shard is written once more.
      return undefined
    }
  }

  /** Whether a whole file of this length is there. */
  async has(path: string, byteLength: number): Promise<boolean> {
    const info = await stat(join(this.path, path)).catch(() => null)
    return info !== null && info.isFile() && info.size === byteLength
  }

  /** Streams one shard to `path`, its tensors in the order of their source, and notes its overflows, which are known by then. */
  async writeShard(path: string, file: ShardFile, overflows: () => Overflows, options: WriteOptions): Promise<void> {
    await this.#write(
      path,
      async (handle) => {
        await writeAll(handle, file.header, 0)
        options.onBytes(file.header.byteLength)
        // One piece is written while the next one is read.
        let pending: Promise<unknown> = Promise.resolve()
        for (const { entry, begin } of file.tensors) {
          for (let at = entry.begin; at < entry.end; at += pieceBytes) {
            const range = { begin: at, end: Math.min(at + pieceBytes, entry.end) }
            const [bytes] = await Promise.all([entry.source.read(range, { signal: options.signal }), pending])
            pending = writeAll(handle, bytes, begin + at - entry.begin).then(() => options.onBytes(bytes.byteLength))
          }
        }
        await pending
      },
      async () => {
        await mkdir(dirname(this.#noteOf(path)), { recursive: true })
        await writeFile(this.#noteOf(path), JSON.stringify(overflows()), { flush: true })
      },
    )
  }

  /** Writes a small file whole. */
  async writeText(path: string, text: string): Promise<void> {
    await this.#write(path, (handle) => handle.writeFile(text))
  }

  /** Copies a file as it is, but for its mode: what may only be read could not be replaced by a second run. */
  async copy(from: string, path: string, options: WriteOptions): Promise<void> {
    await this.#write(path, async (handle) => {
      const source = await open(from)
      try {
        const buffer = new Uint8Array(pieceBytes)
        for (let at = 0; ;) {
          options.signal.throwIfAborted()
          const { bytesRead } = await source.read(buffer, 0, pieceBytes, at)
          if (bytesRead === 0) break
          await writeAll(handle, buffer.subarray(0, bytesRead), at)
          at += bytesRead
          options.onBytes(bytesRead)
        }
      } finally {
        await source.close()
      }
    })
  }

  get #unfinished(): string {
    return join(this.#notes, 'unfinished')
  }

  #noteOf(path: string): string {
    return join(this.#notes, 'written', `${path}.json`)
  }

  async #write(path: string, body: (handle: FileHandle) => Promise<unknown>, beforeNamed?: () => Promise<void>): Promise<void> {
    const handle = await open(this.#unfinished, 'w')
    try {
      await body(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await beforeNamed?.()
    const named = join(this.path, path)
    await mkdir(dirname(named), { recursive: true })
    await rename(this.#unfinished, named)
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at, position + at)
    at += bytesWritten
  }
}

/** Makes a new name last through a power cut, where the system can do that for a folder. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => null)
  await handle?.sync().catch(() => {})
  await handle?.close()
}
