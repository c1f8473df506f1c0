/**
 * One load that several callers wait for: each hears its progress and may leave; when all have left, it stops. What was loaded is
 * kept by whoever started it.
 */

import type { PipelineProgress } from '../../pipelines/types.js'
import { orAbort } from '../../util/abort.js'

/** What a caller may give along. */
export interface LoadHooks {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: PipelineProgress) => void) | undefined
}

/** A load under way. */
export class SharedLoad {
  readonly #controller = new AbortController()
  readonly #listeners = new Set<(progress: PipelineProgress) => void>()
  readonly #done: Promise<void>
  #waiting = 0

  constructor(load: (hooks: LoadHooks) => Promise<void>) {
    this.#done = load({
      signal: this.#controller.signal,
      onProgress: (progress) => {
        for (const listener of this.#listeners) listener(progress)
      },
    })
  }

  /** Whether it was told to stop: nobody should join it any more. */
  get stopped(): boolean {
    return this.#controller.signal.aborted
  }

  /** Waits for it. @throws what the load throws; AbortError when `signal` fires or the load is stopped */
  async join({ signal, onProgress }: LoadHooks): Promise<void> {
    // A wrapper, since two callers may give the same function.
    const listener = (progress: PipelineProgress) => onProgress?.(progress)
    this.#listeners.add(listener)
    this.#waiting++
    try {
      await orAbort(this.#done, signal)
    } finally {
      this.#listeners.delete(listener)
      if (--this.#waiting === 0) this.#controller.abort()
    }
  }

  /** Stops it. Resolves once it has ended, either way. */
  async stop(): Promise<void> {
    this.#controller.abort()
    await Promise.allSettled([this.#done])
  }
}
