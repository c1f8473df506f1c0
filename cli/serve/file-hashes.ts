/**
 * The sha256 of a folder's files, with which a page verifies what it loads. A file is read when its hash is first requested, one file at a
 * time, and again only after its size or modification time has changed.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RepositoryFile } from '../../src/hub/types.js'

interface Hashed {
  readonly size: number
  readonly mtimeMs: number
  readonly sha256: Promise<string | undefined>
}

/** The hashes of a folder's files. Each is computed when it is first requested, and again when its file has changed. */
export class FileHashes {
  readonly #folder: string
  readonly #signal: AbortSignal
  readonly #known = new Map<string, Hashed>()
  /** Files are read one after the other: many disks read two files at once more slowly. */
  #last: Promise<unknown> = Promise.resolve()

  /** @param signal when aborted, reading ends, and calls of `describe` that need a file's content reject */
  constructor(folder: string, signal: AbortSignal) {
    this.#folder = folder
    this.#signal = signal
  }

  /** The current size and hash of a file; without the hash if it cannot be read or is being written; undefined if it does not exist. */
  async describe(path: string): Promise<RepositoryFile | undefined> {
    const before = await this.#stat(path)
    if (before === undefined) return undefined
    const { size, mtimeMs } = before
    let entry = this.#known.get(path)
    if (entry?.size !== size || entry.mtimeMs !== mtimeMs) {
      entry = { size, mtimeMs, sha256: this.#afterOthers(() => this.#hash(path, before)) }
      this.#known.set(path, entry)
    }
    try {
      const sha256 = await entry.sha256
      if (sha256 !== undefined) return { path, size, sha256 }
    } catch {
      this.#signal.throwIfAborted()
    }
    // A failure is not remembered, so the next call tries again.
    if (this.#known.get(path) === entry) this.#known.delete(path)
    return (await this.#stat(path)) === undefined ? undefined : { path, size }
  }

  #afterOthers<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run)
    this.#last = next.catch(() => {})
    return next
  }

  async #hash(path: string, before: Pick<Hashed, 'size' | 'mtimeMs'>): Promise<string | undefined> {
    const hash = createHash('sha256')
    const stream = createReadStream(join(this.#folder, path), { signal: this.#signal, highWaterMark: 1 << 20 })
    for await (const bytes of stream) hash.update(bytes as Buffer)
    const after = await this.#stat(path)
    const stood = after?.size === before.size && after.mtimeMs === before.mtimeMs
    return stood ? hash.digest('hex') : undefined
  }

  async #stat(path: string): Promise<Pick<Hashed, 'size' | 'mtimeMs'> | undefined> {
    return stat(join(this.#folder, path)).catch(() => undefined)
  }
}
