/**
 * How many requests run at once on one host. It starts low and climbs while more requests bring more bytes; it halves when the server
 * says that it is busy. Knows nothing of HTTP: it counts lanes, bytes and time.
 */

import type { TransferSettings } from './settings.js'

/** Time over which the throughput at one width is measured, and how long a width that did not pay is left alone; milliseconds. */
const windowMs = 400
const holdMs = 5000
const busyHoldMs = 10_000
/** More lanes are kept when they bring at least this much more. */
const gain = 1.05

/** A place among the requests of one host. */
export interface Lane {
  /** Bytes that arrived. */
  count(bytes: number): void
  /** Gives the place back; with the milliseconds to leave the host alone when it has too much to do. Only the first call counts. */
  release(wait?: number): void
}

/** The lanes of one host. */
export class Lanes {
  #limit: number
  #active = 0
  readonly #waiting: (() => void)[] = []
  readonly #settings: TransferSettings
  readonly #now: () => number
  #windowStart = 0
  #windowBytes = 0
  #idleInWindow = true
  #previous: { limit: number; rate: number } | undefined
  #holdUntil = 0
  #pausedUntil = 0

  constructor(settings: TransferSettings, now: () => number) {
    this.#settings = settings
    this.#now = now
    this.#limit = Math.min(settings.startLanes, settings.maxLanes)
  }

  /** Requests allowed at once for now. */
  get limit(): number {
    return this.#limit
  }

  /** Waits for a free lane. @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<Lane> {
    signal.throwIfAborted()
    // Whoever waits is counted by the one who wakes it, so that no newcomer takes its place in between.
    if (!this.#isFree() || this.#waiting.length > 0) await this.#queue(signal)
    else this.#active++
    let open = true
    return {
      count: (bytes) => this.#count(bytes),
      release: (wait) => {
        if (!open) return
        open = false
        this.#active--
        if (wait !== undefined) this.#backOff(wait)
        if (this.#waiting.length === 0) this.#idleInWindow = true
        this.#wake()
      },
    }
  }

  #queue(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1)
        reject(signal.reason as Error)
      }
      const enter = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      this.#waiting.push(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  #isFree(): boolean {
    return this.#active < this.#limit && this.#now() >= this.#pausedUntil
  }

  #wake(): void {
    while (this.#isFree() && this.#waiting.length > 0) {
      this.#active++
      this.#waiting.shift()?.()
    }
  }

  #backOff(wait: number): void {
    const now = this.#now()
    if (now + wait > this.#pausedUntil) {
      this.#pausedUntil = now + wait
      // A timer may come a little early by our clock.
      setTimeout(() => this.#wake(), wait + 2)
    }
    // One overload is answered by many requests at once: it halves once, not once for each of them.
    if (now >= this.#holdUntil || this.#previous !== undefined) this.#limit = Math.max(1, Math.floor(this.#limit / 2))
    this.#previous = undefined
    this.#holdUntil = now + busyHoldMs
    this.#restartWindow(now)
  }

  #count(bytes: number): void {
    const now = this.#now()
    this.#windowBytes += bytes
    if (now - this.#windowStart < windowMs) return
    const full = !this.#idleInWindow && now >= this.#holdUntil
    const rate = this.#windowBytes / (now - this.#windowStart)
    this.#restartWindow(now)
    if (full) this.#judge(rate, now)
  }

  #restartWindow(now: number): void {
    this.#windowStart = now
    this.#windowBytes = 0
    this.#idleInWindow = this.#active < this.#limit
  }

  #judge(rate: number, now: number): void {
    if (this.#previous !== undefined && rate < this.#previous.rate * gain) {
      this.#limit = this.#previous.limit
      this.#previous = undefined
      this.#holdUntil = now + holdMs
      return
    }
    if (this.#limit >= this.#settings.maxLanes) return
    this.#previous = { limit: this.#limit, rate }
    this.#limit = Math.min(this.#settings.maxLanes, this.#limit + 2)
    this.#wake()
    // The new lanes bring nothing at first; they are measured from the window after this one.
    this.#idleInWindow = true
  }
}
