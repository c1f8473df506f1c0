/** The files that a repository has opened: each stays in use until the repository is closed. */

/** The functions that release the opened files, by key. */
export class OpenFiles {
  readonly #releases = new Map<string, () => void>()
  #closed = false

  /** Keeps a file's `release` for {@link close}. Calls it at once if the file is open already, or if the repository is closed. */
  add(key: string, release: () => void): void {
    if (this.#closed || this.#releases.has(key)) release()
    else this.#releases.set(key, release)
  }

  /** Ends the use of one file. */
  release(key: string): void {
    this.#releases.get(key)?.()
    this.#releases.delete(key)
  }

  /** Ends the use of all files. */
  close(): void {
    this.#closed = true
    for (const release of this.#releases.values()) release()
    this.#releases.clear()
  }
}
