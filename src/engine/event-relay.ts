/**
 * Sends a call's events to the page in batches: at once when nothing was sent lately, else after a short wait, never two batches
 * at a time. News that only replaces older news (a file's bytes, the memory account) takes its place in the waiting batch, so
 * a fast download cannot flood a slow page.
 */

import type { EngineEvent } from './protocol.js'

/** Milliseconds between two batches. */
export const batchInterval = 50

/** A queue of events on their way to one receiver. */
export class EventRelay {
  readonly #send: (events: readonly EngineEvent[]) => Promise<void> | void
  readonly #interval: number
  #waiting = new Map<string, EngineEvent>()
  #count = 0
  #running: Promise<void> | undefined
  #urgent: (() => void) | undefined
  #finished = false

  /** `interval` in milliseconds. A receiver that throws is not sent to again. */
  constructor(send: (events: readonly EngineEvent[]) => Promise<void> | void, interval = batchInterval) {
    this.#send = send
    this.#interval = interval
  }

  /** Queues an event. */
  push(event: EngineEvent): void {
    if (this.#finished) return
    const key = subject(event) ?? `#${this.#count++}`
    // Taken out first, so that the newer event also stands after whatever came between.
    this.#waiting.delete(key)
    this.#waiting.set(key, event)
    this.#running ??= this.#run()
  }

  /** Resolves once every event has been taken; later ones are dropped. */
  async finish(): Promise<void> {
    this.#finished = true
    this.#urgent?.()
    await this.#running
  }

  async #run(): Promise<void> {
    // A turn of the loop first, so that what is pushed in one go is one batch.
    await Promise.resolve()
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting.values()]
      this.#waiting = new Map()
      try {
        await this.#send(batch)
      } catch {
        // The receiver is gone or broken: the call's own result tells, its events need not.
        this.#finished = true
        this.#waiting = new Map()
        return
      }
      if (!this.#finished) await this.#pause()
    }
    this.#running = undefined
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#interval)
      this.#urgent = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** What an event is news of, where newer news makes older worthless. */
function subject(event: EngineEvent): string | undefined {
  if (event.type === 'step') return undefined
  const { progress } = event
  if (progress.type === 'file') return `file ${progress.component} ${progress.file.path}`
  // That a component begins is news of its own: a small one would else be there before anyone heard.
  if (progress.type === 'weights') return progress.loaded === 0 ? undefined : `weights ${progress.component}`
  return progress.type === 'memory' ? 'memory' : undefined
}
