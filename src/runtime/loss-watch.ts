/**
 * Waits that end when a device is lost. A device outlives many thousands of them, and a promise keeps whatever was hung onto it until it
 * settles, so each wait is entered here and leaves when it is over.
 */

/** Whoever waits for work that a loss would end. */
export class LossWatch {
  readonly #waiting = new Set<(loss: Error) => void>()
  #loss: Error | undefined

  /** Waits under way. */
  get size(): number {
    return this.#waiting.size
  }

  /** Ends all waits, those that begin later at once. */
  end(loss: Error): void {
    this.#loss = loss
    for (const reject of this.#waiting) reject(loss)
    this.#waiting.clear()
  }

  /** Settles as `work` does, or rejects with the loss when that comes first. */
  race<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject))
      if (this.#loss === undefined) this.#waiting.add(reject)
      else reject(this.#loss)
    })
  }
}
