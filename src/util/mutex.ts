/** A lock for tasks that must run one at a time, in the order of their calls. onnxruntime-web needs one, see onnxruntime.ts. */

import { orAbort } from './abort.js'

/** A queue of tasks that run one at a time. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Runs `task` once everything queued before it has settled, and returns its result. The signal removes the task from the queue, but does
   * not stop a task that has started.
   * @throws AbortError, and what `task` throws
   */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last
    let release: (() => void) | undefined
    this.#last = new Promise<void>((resolve) => {
      release = resolve
    }).then(() => before)
    try {
      await orAbort(before, signal)
      return await task()
    } finally {
      release?.()
    }
  }
}
