/** The files that a repository has open: each held once, until the repository is closed. */

export class OpenFiles {
  readonly #releases = new Map<string, () => void>()
  #closed = false

  /** Keeps a file's release for the end. A download that ends after {@link close} holds nothing. */
  hold(key: string, release: () => void): void {
    if (this.#closed || this.#releases.has(key)) release()
    else this.#releases.set(key, release)
  }

  release(key: string): void {
    this.#releases.get(key)?.()
    this.#releases.delete(key)
  }

  close(): void {
    this.#closed = true
    for (const release of this.#releases.values()) release()
    this.#releases.clear()
  }
}
