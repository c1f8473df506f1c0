/** Limits how many bytes of downloads are in memory at once. */

/** Counts claimed bytes against a limit. A claim waits until it fits; claims are served in the order in which they were made. */
export class DownloadMemory {
  /** The limit in bytes. */
  readonly limit: number
  #claimed = 0
  #peak = 0
  readonly #waiting: { bytes: number; enter: () => void }[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  /** The most bytes that were claimed at one time. */
  get peak(): number {
    return this.#peak
  }

  /**
   * Waits until `bytes` fit; a claim above the whole limit waits until nothing else is claimed.
   * Returns the function that ends the claim, to be called once.
   * @throws the signal's reason
   */
  async claim(bytes: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.#waiting.length > 0 || !this.#fits(bytes)) await this.#queue(bytes, signal)
    else this.#take(bytes)
    return () => {
      this.#claimed -= bytes
      this.#admit()
    }
  }

  #queue(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry = {
        bytes,
        enter: () => {
          signal?.removeEventListener('abort', leave)
          this.#take(bytes)
          resolve()
        },
      }
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1)
        this.#admit()
        reject(signal?.reason as Error)
      }
      this.#waiting.push(entry)
      signal?.addEventListener('abort', leave, { once: true })
    })
  }

  #fits(bytes: number): boolean {
    return this.#claimed === 0 || this.#claimed + bytes <= this.limit
  }

  #take(bytes: number): void {
    this.#claimed += bytes
    this.#peak = Math.max(this.#peak, this.#claimed)
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      next.enter()
    }
  }
}
