/**
 * Waits that end when a device is lost. A device outlives many thousands of them, and a promise keeps whatever was hung onto it until it
 * settles, so each wait is entered here and leaves when it is over.
 */

import { DeviceError } from '../../errors.js'

/** How long things take at a loss, in milliseconds. */
export interface LossTimes {
  /** From a call that fails with the device to the news that it is gone: both come of one event, in either order. */
  readonly toldWithin: number
  /** What whoever works on the device is given to return. */
  readonly grace: number
}

const usual: LossTimes = { toldWithin: 1000, grace: 2000 }

/** Whoever waits for work that a loss would end. */
export class LossWatch {
  readonly #times: LossTimes
  readonly #waiting = new Set<(loss: Error) => void>()
  #loss: Error | undefined

  constructor(times: LossTimes = usual) {
    this.#times = times
  }

  /** Waits under way. */
  get size(): number {
    return this.#waiting.size
  }

  /** Ends all waits, those that begin later at once. */
  end(loss: Error): void {
    this.#loss = loss
    for (const tell of this.#waiting) tell(loss)
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

  /**
   * As {@link race}, but after a loss `work` is given a moment to return: for what must not be begun again while it is under way, by code
   * that may never come back from a device that is gone.
   */
  async outlast<T>(work: Promise<T>): Promise<T> {
    try {
      return await this.race(work)
    } finally {
      if (this.#loss !== undefined) await settledWithin(work, this.#times.grace)
    }
  }

  /**
   * The loss, where a failure comes of one, else the failure. A GPU that goes fails the calls under way in many ways and may say only then
   * that it is gone, so what could be that waits a moment for the news; a caller's own cancel does not.
   */
  async reasonOf(failure: unknown, signal?: AbortSignal): Promise<unknown> {
    if (this.#loss === undefined && signal?.aborted !== true && mayBeLoss(failure)) await this.#news()
    return this.#loss ?? failure
  }

  /** Resolves at a loss, or when none was told in time. */
  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, this.#times.toldWithin)
      this.#waiting.add(done)
    })
  }
}

/** Whether a failure is of a kind that calls on a lost device end with: the browser's own, and what we and onnxruntime make of those. */
function mayBeLoss(failure: unknown): boolean {
  return (
    failure instanceof DOMException ||
    (failure instanceof DeviceError && (failure.code === 'gpu-error' || failure.code === 'runtime-error'))
  )
}

/** Resolves when `work` settles, or after `ms` milliseconds. */
async function settledWithin(work: Promise<unknown>, ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    work
      .catch(() => {})
      .finally(() => {
        clearTimeout(timer)
        resolve()
      })
  })
}
