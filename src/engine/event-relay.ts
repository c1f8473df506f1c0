/**
 * Sends the events of a call to the page. A step, a phase, and the start and the end of loading weights are sent at once, because what
 * follows them may block the worker for seconds. The other events are sent in batches: the first batch at once, the next ones after a short
 * wait and after the page has received the previous one. An event that supersedes an older one, such as the bytes of the same file,
 * replaces it in the waiting batch, so a fast download cannot flood a slow page.
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
  /** Settles when the receiver has received everything that was sent. */
  #received: Promise<void> = Promise.resolve()
  #endPause: (() => void) | undefined
  #finished = false

  /** `interval` is in milliseconds. A receiver that throws gets no further events. */
  constructor(send: (events: readonly EngineEvent[]) => Promise<void> | void, interval = batchInterval) {
    this.#send = send
    this.#interval = interval
  }

  /** Queues an event. If it cannot wait, it is sent before the call returns, after all events that are waiting. */
  push(event: EngineEvent): void {
    if (this.#finished) return
    const key = subject(event) ?? `#${this.#count++}`
    // Deleted first, so that the newer event moves to the end of the batch.
    this.#waiting.delete(key)
    this.#waiting.set(key, event)
    if (cannotWait(event)) this.#flush()
    else this.#running ??= this.#run()
  }

  /** Resolves once the receiver has every event; later events are dropped. */
  async finish(): Promise<void> {
    this.#finished = true
    this.#endPause?.()
    await this.#running
    await this.#received
  }

  async #run(): Promise<void> {
    // Wait for one microtask, so that events pushed together form one batch.
    await Promise.resolve()
    while (this.#waiting.size > 0) {
      this.#flush()
      await this.#received
      if (!this.#finished) await this.#pause()
    }
    this.#running = undefined
  }

  #flush(): void {
    const batch = [...this.#waiting.values()]
    this.#waiting = new Map()
    const before = this.#received
    this.#received = this.#deliver(batch).then(() => before)
  }

  async #deliver(batch: readonly EngineEvent[]): Promise<void> {
    try {
      await this.#send(batch)
    } catch {
      // The receiver is gone or broken, which the call itself will report: drop the events.
      this.#finished = true
      this.#waiting = new Map()
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#interval)
      this.#endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** Whether an event has to be sent before the worker continues, because the worker may then be blocked for a long time. */
function cannotWait(event: EngineEvent): boolean {
  if (event.type === 'step') return true
  const { progress } = event
  return progress.type === 'status' || (progress.type === 'weights' && isEnd(progress))
}

/** Whether the loading of a component's weights has just begun, or has ended. */
function isEnd({ loaded, total }: { readonly loaded: number; readonly total: number }): boolean {
  return loaded === 0 || loaded >= total
}

/** A key for an event that replaces a waiting event with the same key; undefined for an event that replaces none. */
function subject(event: EngineEvent): string | undefined {
  if (event.type === 'step') return undefined
  const { progress } = event
  if (progress.type === 'file') return `file ${progress.component} ${progress.file.path}`
  if (progress.type === 'weights') return isEnd(progress) ? undefined : `weights ${progress.component}`
  return progress.type === 'memory' ? 'memory' : undefined
}
