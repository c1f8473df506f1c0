/**
 * Sends the events of a call to the page in batches: the first batch at once, the next ones after a short wait, one batch at a time. An
 * event that supersedes an older one, such as the bytes of the same file, replaces it in the waiting batch, so a fast download cannot
 * flood a slow page.
 */

import type { EngineEvent } from './protocol.js'

/** Milliseconds between two batches. */
export const batchInterval = 50

/** Queues events for one receiver. */
export class EventRelay {
  readonly #send: (events: readonly EngineEvent[]) => Promise<void> | void
  readonly #interval: number
  #waiting = new Map<string, EngineEvent>()
  #count = 0
  #running: Promise<void> | undefined
  #urgent: (() => void) | undefined
  #finished = false

  /** `interval` is in milliseconds. A receiver that throws gets no further events. */
  constructor(send: (events: readonly EngineEvent[]) => Promise<void> | void, interval = batchInterval) {
    this.#send = send
    this.#interval = interval
  }

  /** Queues an event. */
  push(event: EngineEvent): void {
    if (this.#finished) return
    const key = subject(event) ?? `#${this.#count++}`
    // Deleted first, so that the newer event moves to the end of the batch.
    this.#waiting.delete(key)
    this.#waiting.set(key, event)
    this.#running ??= this.#run()
  }

  /** Resolves once the receiver has every event; later events are dropped. */
  async finish(): Promise<void> {
    this.#finished = true
    this.#urgent?.()
    await this.#running
  }

  async #run(): Promise<void> {
    // Wait for one microtask, so that events pushed together form one batch.
    await Promise.resolve()
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting.values()]
      this.#waiting = new Map()
      try {
        await this.#send(batch)
      } catch {
        // The receiver is gone or broken. The call itself will report that; drop its events.
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

/** The subject of an event that supersedes older events about the same subject; undefined if it must not replace any. */
function subject(event: EngineEvent): string | undefined {
  if (event.type === 'step') return undefined
  const { progress } = event
  if (progress.type === 'file') return `file ${progress.component} ${progress.file.path}`
  // The first event of a component is always sent: otherwise a small component would be loaded before the page had heard of it.
  if (progress.type === 'weights') return progress.loaded === 0 ? undefined : `weights ${progress.component}`
  return progress.type === 'memory' ? 'memory' : undefined
}
