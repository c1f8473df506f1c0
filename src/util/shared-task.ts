/** One running task that several callers share, such as two prompt boxes that load the same model. */

import { orAbort } from './abort.js'

/** What a caller of {@link SharedTask.join} may pass. */
export interface JoinOptions<Progress> {
  /** Lets this caller leave; the task stops only when every caller has left. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** A caller's share of a finished task. */
export interface Share<T> {
  readonly value: T
  /** Gives the share back. If this was the last share, disposes the value and resolves when that is done. A second call does nothing. */
  readonly leave: () => Promise<void>
}

/** Runs a task once for all who join it, and stops it or disposes its value when the last of them has left. */
export class SharedTask<T, Progress> {
  readonly #controller = new AbortController()
  readonly #listeners = new Set<(progress: Progress) => void>()
  readonly #done: Promise<T>
  readonly #dispose: (value: T) => Promise<void>
  #shares = 0

  /** Starts `run` at once. `dispose` receives the value after the last share was given back. */
  constructor(
    run: (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<T>,
    dispose: (value: T) => Promise<void> = () => Promise.resolve(),
  ) {
    this.#dispose = dispose
    this.#done = run(this.#controller.signal, (progress) => {
      for (const listener of this.#listeners) listener(progress)
    })
  }

  /** Whether the task was stopped, or its value disposed: nobody should join it any more. */
  get stopped(): boolean {
    return this.#controller.signal.aborted
  }

  /** Waits for the value. @throws what the task throws; AbortError when `signal` fires or the task is stopped */
  async join({ signal, onProgress }: JoinOptions<Progress>): Promise<Share<T>> {
    // Two callers may pass the same function. Each gets its own wrapper, because a Set would keep the function only once.
    const listener = (progress: Progress) => onProgress?.(progress)
    this.#listeners.add(listener)
    this.#shares++
    try {
      const value = await orAbort(this.#done, signal)
      let left: Promise<void> | undefined
      return { value, leave: () => (left ??= this.#leave()) }
    } catch (error) {
      void this.#leave()
      throw error
    } finally {
      this.#listeners.delete(listener)
    }
  }

  /** Stops the task. Resolves once it has ended, whether it succeeded or failed. */
  async stop(): Promise<void> {
    this.#controller.abort()
    await Promise.allSettled([this.#done])
  }

  async #leave(): Promise<void> {
    if (--this.#shares > 0) return
    this.#controller.abort()
    const [outcome] = await Promise.allSettled([this.#done])
    if (outcome?.status === 'fulfilled') await this.#dispose(outcome.value)
  }
}
