/** The denoising steps that were sent to a device and are not finished. Their results are checked and reported in order. */

import { orAbort } from '../../util/abort.js'

/** A queue of steps. */
export class StepsInFlight {
  readonly #depth: number
  readonly #signal: AbortSignal | undefined
  #queue: Promise<void>[] = []
  #last: Promise<void> = Promise.resolve()
  #closed = false

  /**
   * `depth`: {@link ready} waits while this many steps are in flight. It is small, so that cancellation takes effect soon, and a value that
   * is not finite is found soon.
   */
  constructor(depth: number, signal: AbortSignal | undefined) {
    this.#depth = depth
    this.#signal = signal
  }

  /**
   * Adds a step. `report` is called once the device has finished `work` and the earlier steps have been reported. It receives the result of `work`
   * and `isWanted`, which is false after an abort or {@link close}.
   */
  add<T>(work: Promise<T>, report: (result: T, isWanted: boolean) => void): void {
    const before = this.#last
    const finish = async () => {
      const [result] = await Promise.all([work, before])
      report(result, !this.#closed && this.#signal?.aborted !== true)
    }
    const finished = finish()
    // Avoids an unhandled rejection: if the loop fails first, neither ready() nor all() awaits this promise.
    finished.catch(() => {})
    this.#last = finished
    this.#queue.push(finished)
  }

  /** Waits until the device may be given another step. @throws what `work` and `report` of a finished step threw; AbortError */
  async ready(): Promise<void> {
    while (this.#queue.length >= this.#depth) await orAbort(Promise.resolve(this.#queue.shift()), this.#signal)
  }

  /** Waits for all steps. @throws as {@link ready} */
  async all(): Promise<void> {
    await orAbort(Promise.all(this.#queue), this.#signal)
  }

  /** Call when the loop ends: `isWanted` is false for steps that finish later. */
  close(): void {
    this.#closed = true
  }
}
