/**
 * The folder in which a result is written. A file gets its name when it is complete; until then it is `unfinished` in a hidden folder,
 * which also records what the result is made from and which shards are complete. The hidden folder is removed when the result is complete.
 */

import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ByteSource } from '../../src/hub/types.js'
import type { ShardFile } from './shard-plan.js'

/** Bytes read and written at a time. */
const pieceBytes = 8 << 20

/** The hidden folder. Hidden files of repositories are not read, so no copied file has this name. */
const notesName = '.aquatint-shard'

/** Recorded for each written shard: tensors with finite values that became infinite, and the number of these values. */
export type Overflows = Readonly<Record<string, number>>

/** Options of the methods that write. */
export interface WriteFileOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
}

/** A result that is being written. */
export class WorkFolder {
  readonly path: string
  readonly #notes: string

  constructor(path: string) {
    this.path = path
    this.#notes = join(path, notesName)
  }

  /**
   * The fingerprint of the unfinished result in the folder; '' if it cannot be read; undefined if the folder is missing or empty; null if
   * the folder holds anything else.
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

  /** Resumes an unfinished result with this fingerprint, or empties the folder, whatever it has: call {@link fingerprint} first. */
  async begin(fingerprint: string): Promise<void> {
    if ((await this.fingerprint()) !== fingerprint) {
      await mkdir(this.#notes, { recursive: true })
      // The hidden folder stays: it shows that the other files may be deleted.
      await rm(join(this.#notes, 'fingerprint'), { force: true })
      for (const name of await readdir(this.path)) if (name !== notesName) await rm(join(this.path, name), { recursive: true })
      await rm(join(this.#notes, 'written'), { recursive: true, force: true })
      await writeFile(join(this.#notes, 'fingerprint'), fingerprint, { flush: true })
    }
    await rm(this.#unfinished, { force: true })
  }

  /** Renames the folder to `out` and removes the hidden folder. */
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

  /** After a failure: if no file is complete, removes the hidden folder, and the work folder too unless it is `out` itself. */
  async discardEmpty(out: string): Promise<void> {
    if ((await readdir(this.path)).some((name) => name !== notesName)) return
    await rm(this.#notes, { recursive: true })
    if (this.path !== out) await rmdir(this.path)
  }

  /** The overflows of a shard that is complete; undefined if it is not. */
  async written(path: string, byteLength: number): Promise<Overflows | undefined> {
    if (!(await this.has(path, byteLength))) return undefined
    const note = await readFile(this.#noteOf(path), 'utf8').catch(() => '')
    try {
      return JSON.parse(note) as Overflows
    } catch {
      // A power cut can truncate the record. The shard is then written again.
      return undefined
    }
  }

  /** Whether a complete file of this length exists. */
  async has(path: string, byteLength: number): Promise<boolean> {
    const info = await stat(join(this.path, path)).catch(() => null)
    return info !== null && info.isFile() && info.size === byteLength
  }

  /** Streams one shard to `path`, tensor by tensor as in `file.tensors`. Calls `overflows` when all its tensors have been read. */
  async writeShard(path: string, file: ShardFile, overflows: () => Overflows, options: WriteFileOptions): Promise<void> {
    await this.#write(
      path,
      async (handle) => {
        await writeAll(handle, file.header, 0)
        options.onBytes(file.header.byteLength)
        // A piece is written while the next one is read.
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

  /** Writes a small file. */
  async writeText(path: string, text: string): Promise<void> {
    await this.#write(path, (handle) => handle.writeFile(text))
  }

  /** Copies a file's bytes, but not its mode, because a second run could not replace a read-only file. */
  async copy(from: ByteSource, path: string, options: WriteFileOptions): Promise<void> {
    await this.#write(path, async (handle) => {
      for (let at = 0; at < from.byteLength; at += pieceBytes) {
        options.signal.throwIfAborted()
        const end = Math.min(at + pieceBytes, from.byteLength)
        await writeAll(handle, await from.read({ begin: at, end }, { signal: options.signal }), at)
        options.onBytes(end - at)
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

/** Makes a new name survive a power cut, on systems that can sync a folder. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => null)
  await handle?.sync().catch(() => {})
  await handle?.close()
}
