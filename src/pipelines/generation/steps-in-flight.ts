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
   * `depth`: how many steps a device may work on while the next one is put together. It is small, so that a cancel takes effect soon, and a value
   * that is not finite is found soon.
   */
  constructor(depth: number, signal: AbortSignal | undefined) {
    this.#depth = depth
    this.#signal = signal
  }

  /**
   * Adds a step. When the device has finished `work`, and after the steps before, `report` is called with its result, and with whether the caller
   * still waits for it; after an abort or {@link close} it does not.
   */
  add<T>(work: Promise<T>, report: (result: T, isWanted: boolean) => void): void {
    const before = this.#last
    const finish = async () => {
      const [result] = await Promise.all([work, before])
      report(result, !this.#closed && this.#signal?.aborted !== true)
    }
    const finished = finish()
    // Awaited by room() or all(), unless the loop fails first.
    finished.catch(() => {})
    this.#last = finished
    this.#queue.push(finished)
  }

  /** Waits until the device may be given another step. @throws what `work` and `report` of a finished step threw; AbortError */
  async room(): Promise<void> {
    while (this.#queue.length >= this.#depth) await orAbort(Promise.resolve(this.#queue.shift()), this.#signal)
  }

  /** Waits for all steps. @throws as {@link room} */
  async all(): Promise<void> {
    await orAbort(Promise.all(this.#queue), this.#signal)
  }

  /** No caller waits for the steps that are not finished by now. */
  close(): void {
    this.#closed = true
  }
}
