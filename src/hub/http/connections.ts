/**
 * How many requests run at once on one host. It starts low and climbs while more requests bring more bytes; it halves when the server
 * says that it is busy. Knows nothing of HTTP: it counts lanes, bytes and time.
 */

import type { TransferSettings } from '../settings.js'

/** Time over which the throughput at one width is measured, and how long a width that did not pay is left alone; milliseconds. */
const windowMs = 400
const holdMs = 5000
const busyHoldMs = 10_000
/** More lanes are kept when they bring at least this much more. */
const gain = 1.05

/** Windows over which a width that seems not to pay is measured: on a busy machine bytes come in lumps, and one window tells little. */
const looks = 3

/** A place among the requests of one host. */
export interface ConnectionSlot {
  /** Whether the browser may hold this request back until another one ends: then its silence says nothing about the server. */
  readonly mayQueue: boolean
  /** The headers of the answer came. */
  answered(): void
  /** Bytes that arrived. */
  count(bytes: number): void
  /** Gives the place back. Only the first call counts. */
  release(): void
}

/** The lanes of one host. */
export class ConnectionPool {
  #limit: number
  #active = 0
  readonly #waiting: (() => void)[] = []
  readonly #settings: TransferSettings
  readonly #now: () => number
  /** Requests whose answers are coming in. */
  #answered = 0
  /** Whether one connection carries many requests (HTTP/2 and later); unknown until one request more than HTTP/1.1 allows was tried. */
  #multiplexed: boolean | undefined
  #windowStart = 0
  #windowBytes = 0
  #idleInWindow = true
  #previous: { limit: number; rate: number } | undefined
  /** What came in the windows at this width. */
  #seen = { bytes: 0, milliseconds: 0, windows: 0 }
  #holdUntil = 0
  #pausedUntil = 0

  constructor(settings: TransferSettings, now: () => number) {
    this.#settings = settings
    this.#now = now
    this.#limit = Math.min(settings.startConnections, settings.maxConnections)
  }

  /** Requests allowed at once for now. */
  get limit(): number {
    return this.#limit
  }

  /** Waits for a free lane. @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<ConnectionSlot> {
    signal.throwIfAborted()
    // Whoever waits is counted by the one who wakes it, so that no newcomer takes its place in between.
    if (!this.#isFree() || this.#waiting.length > 0) await this.#queue(signal)
    else this.#active++
    let open = true
    let answered = false
    return {
      mayQueue: this.#active > this.#settings.maxConnections && this.#multiplexed !== true,
      answered: () => {
        if (answered || !open) return
        answered = true
        this.#answered++
        // More answers at once than HTTP/1.1 has connections.
        if (this.#answered > this.#settings.maxConnections) this.#multiplexed = true
      },
      count: (bytes) => this.#count(bytes),
      release: () => {
        if (!open) return
        open = false
        this.#active--
        if (answered) this.#answered--
        if (this.#waiting.length === 0) this.#idleInWindow = true
        this.#wake()
      },
    }
  }

  /** The host has too much to do: leaves it alone for so many milliseconds, and asks for less at once afterwards. */
  backOff(wait: number): void {
    const now = this.#now()
    if (now + wait > this.#pausedUntil) {
      this.#pausedUntil = now + wait
      // A timer may come a little early by our clock.
      setTimeout(() => this.#wake(), wait + 2)
    }
    // One overload is answered by many requests at once: it halves once, not once for each of them.
    if (now >= this.#holdUntil || this.#previous !== undefined) this.#limit = Math.max(1, Math.floor(this.#limit / 2))
    this.#previous = undefined
    this.#seen = { bytes: 0, milliseconds: 0, windows: 0 }
    this.#holdUntil = now + busyHoldMs
    this.#restartWindow(now)
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

  #count(bytes: number): void {
    const now = this.#now()
    this.#windowBytes += bytes
    if (now - this.#windowStart < windowMs) return
    const full = !this.#idleInWindow && now >= this.#holdUntil
    if (full) {
      this.#seen.bytes += this.#windowBytes
      this.#seen.milliseconds += now - this.#windowStart
      this.#seen.windows++
    }
    this.#restartWindow(now)
    if (full) this.#judge(now)
  }

  #restartWindow(now: number): void {
    this.#windowStart = now
    this.#windowBytes = 0
    this.#idleInWindow = this.#active < this.#limit
  }

  /** The width to go on with when this one paid. */
  #next(): number {
    const { maxConnections, maxStreams } = this.#settings
    if (this.#limit < maxConnections) return Math.min(maxConnections, this.#limit + 2)
    if (this.#multiplexed === true) return Math.min(maxStreams, this.#limit + 2)
    // One more than HTTP/1.1 has connections: either it is answered beside the others, or it is not worth asking again.
    if (this.#limit > maxConnections) this.#multiplexed = false
    return this.#multiplexed === undefined && maxStreams > maxConnections ? maxConnections + 1 : maxConnections
  }

  #judge(now: number): void {
    const { bytes, milliseconds, windows } = this.#seen
    const rate = bytes / milliseconds
    const paid =
      this.#previous === undefined ||
      rate >= this.#previous.rate * gain ||
      (this.#multiplexed === true && this.#limit === this.#settings.maxConnections + 1)
    // Beyond HTTP/1.1's connections one window tells: either the request is answered, or it waits.
    if (!paid && windows < looks && (this.#limit <= this.#settings.maxConnections || this.#multiplexed === true)) return
    this.#seen = { bytes: 0, milliseconds: 0, windows: 0 }
    if (!paid && this.#previous !== undefined) {
      if (this.#limit > this.#settings.maxConnections) this.#multiplexed ??= false
      this.#limit = this.#previous.limit
      this.#previous = undefined
      this.#holdUntil = now + holdMs
      return
    }
    const next = this.#next()
    if (next <= this.#limit) {
      this.#limit = next
      this.#previous = undefined
      return
    }
    this.#previous = { limit: this.#limit, rate }
    this.#limit = next
    this.#wake()
    // The new lanes bring nothing at first; they are measured from the window after this one.
    this.#idleInWindow = true
  }
}
