/** A lock for things that must happen one at a time, first come, first served. onnxruntime-web needs one: see onnxruntime.ts. */

import { orAbort } from './abort.js'

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Runs `task` once everything queued before has settled, and gives its result. A signal takes it out of the queue; once it
   * runs, it runs. @throws AbortError, and what `task` throws
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
