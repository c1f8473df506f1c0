/**
 * Waiting for work on a GPU device: each wait ends early if the device is lost. A device outlives many thousands of such waits, and a
 * promise keeps all its callbacks until it settles. So the waits are not attached to `GPUDevice.lost`, but registered here and removed
 * when they are over.
 */

import { DeviceError } from '../../errors.js'

/** Time limits around a loss, in milliseconds. */
export interface LossTimes {
  /** How long a failed call waits for the report that the device was lost. A loss causes both, and the call may fail before the report arrives. */
  readonly toldWithin: number
  /** How long to wait for work on the lost device to settle. */
  readonly grace: number
}

const usual: LossTimes = { toldWithin: 1000, grace: 2000 }

/** The current waits for work on one device. A loss of the device ends them. */
export class LossWatch {
  readonly #times: LossTimes
  readonly #waiting = new Set<(loss: Error) => void>()
  #loss: Error | undefined

  constructor(times: LossTimes = usual) {
    this.#times = times
  }

  /** The number of current waits. */
  get size(): number {
    return this.#waiting.size
  }

  /** Ends all waits. Waits that begin later end at once. */
  end(loss: Error): void {
    this.#loss = loss
    for (const reject of this.#waiting) reject(loss)
    this.#waiting.clear()
  }

  /** Resolves or rejects like `work`, or rejects with the loss if the device is lost first. */
  race<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject))
      if (this.#loss === undefined) this.#waiting.add(reject)
      else reject(this.#loss)
    })
  }

  /**
   * Like {@link race}, but after a loss it waits a moment for `work` to settle. It is for work that must not be started again while it
   * still runs. The wait has a limit, because work on a lost device may never settle.
   */
  async outlast<T>(work: Promise<T>): Promise<T> {
    try {
      return await this.race(work)
    } finally {
      if (this.#loss !== undefined) await settledWithin(work, this.#times.grace)
    }
  }

  /**
   * The loss if it caused a failure, otherwise the failure. A GPU that is lost fails the current calls in many ways, and may report the
   * loss only afterwards. So this method waits a moment for the report if a loss may have caused the failure and the caller has not
   * cancelled.
   */
  async reasonOf(failure: unknown, signal?: AbortSignal): Promise<unknown> {
    if (this.#loss === undefined && signal?.aborted !== true && mayBeLoss(failure)) await this.#news()
    return this.#loss ?? failure
  }

  /** Resolves when a loss is reported, or when the time is over. */
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

/** Whether a lost device can be the cause of this failure: it is an error of the browser, or one that Aquatint or onnxruntime made from such an error. */
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
