/** A limit on bytes held at once. Claims are served in the order they came. */

/** Counts bytes against a limit; a claim waits until it fits. */
export class DownloadMemory {
  readonly limit: number
  #held = 0
  #peak = 0
  readonly #waiting: { bytes: number; enter: () => void }[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  /** Most bytes that were held at one time. */
  get peak(): number {
    return this.#peak
  }

  /** Waits until `bytes` fit; a claim over the whole limit waits until nothing else is held. Returns the release, to be called once. */
  async claim(bytes: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.#waiting.length > 0 || !this.#fits(bytes)) {
      await new Promise<void>((resolve, reject) => {
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
    } else {
      this.#take(bytes)
    }
    return () => {
      this.#held -= bytes
      this.#admit()
    }
  }

  #fits(bytes: number): boolean {
    return this.#held === 0 || this.#held + bytes <= this.limit
  }

  #take(bytes: number): void {
    this.#held += bytes
    this.#peak = Math.max(this.#peak, this.#held)
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      next.enter()
    }
  }
}
