/**
 * Limits how many requests to one host run at once. The limit starts low and grows while more requests bring more bytes per second; it is
 * halved when the server reports overload. This file sends no requests.
 */

import type { TransferSettings } from '../settings.js'

/** Milliseconds over which the throughput is measured. */
const windowMs = 400
/** Milliseconds during which the limit does not grow again, after more connections brought no more bytes. */
const holdMs = 5000
/** Milliseconds during which the limit does not grow again after the server was overloaded. */
const overloadHoldMs = 10_000
/** A higher limit is kept when the throughput grows at least by this factor. */
const gain = 1.05

/** Windows over which a higher limit is measured before it is rejected: on a busy machine bytes arrive in bursts, and one window says little. */
const windowsPerTrial = 3

/** One of a host's connections, in use by one request. */
export interface ConnectionSlot {
  /** Whether the browser may queue this request until another one ends: then silence says nothing about the server. */
  readonly mayQueue: boolean
  /** Call when the headers of the answer have arrived. */
  answered(): void
  /** Call with the number of bytes that arrived. */
  count(bytes: number): void
  /** Returns the connection to the pool. Only the first call counts. */
  release(): void
}

/** The connections to one host. */
export class ConnectionPool {
  #limit: number
  #active = 0
  readonly #waiting: (() => void)[] = []
  readonly #settings: TransferSettings
  readonly #now: () => number
  /** Requests whose headers have arrived and whose bodies have not ended. */
  #answered = 0
  /** Whether one connection carries many requests (HTTP/2 and later). Unknown until `maxConnections` + 1 requests were tried. */
  #multiplexed: boolean | undefined
  #windowStart = 0
  #windowBytes = 0
  /** Whether a connection was unused in the current window. If so, the window's throughput says nothing about the limit. */
  #idleInWindow = true
  /** The limit before the current one, and its throughput in bytes per millisecond; set while a higher limit is tried. */
  #previous: { limit: number; rate: number } | undefined
  /** What was measured at the current limit. */
  #measured = { bytes: 0, milliseconds: 0, windows: 0 }
  /** The limit does not change before this time. */
  #holdUntil = 0
  /** No request starts before this time. */
  #pausedUntil = 0

  /** @param now a clock in milliseconds */
  constructor(settings: TransferSettings, now: () => number) {
    this.#settings = settings
    this.#now = now
    this.#limit = Math.min(settings.startConnections, settings.maxConnections)
  }

  /** Requests allowed at once at present. */
  get limit(): number {
    return this.#limit
  }

  /** Waits for a free connection. @throws the signal's reason */
  async acquire(signal: AbortSignal): Promise<ConnectionSlot> {
    signal.throwIfAborted()
    // `#wake` counts a waiting request as active before it resolves, so that no new request takes its place in between.
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
        // Over HTTP/1.1 a browser has too few connections for so many answers at once.
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

  /** The host is overloaded: sends it no request for `wait` milliseconds, and fewer at once afterwards. */
  backOff(wait: number): void {
    const now = this.#now()
    if (now + wait > this.#pausedUntil) {
      this.#pausedUntil = now + wait
      // A timer may fire a little early by this clock.
      setTimeout(() => this.#wake(), wait + 2)
    }
    // Many requests may report the same overload: halve the limit once, not once for each of them.
    if (now >= this.#holdUntil || this.#previous !== undefined) this.#limit = Math.max(1, Math.floor(this.#limit / 2))
    this.#previous = undefined
    this.#forgetMeasurements()
    this.#holdUntil = now + overloadHoldMs
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
    const isConclusive = !this.#idleInWindow && now >= this.#holdUntil
    if (isConclusive) {
      this.#measured.bytes += this.#windowBytes
      this.#measured.milliseconds += now - this.#windowStart
      this.#measured.windows++
    }
    this.#restartWindow(now)
    if (isConclusive) this.#adjustLimit(now)
  }

  #restartWindow(now: number): void {
    this.#windowStart = now
    this.#windowBytes = 0
    this.#idleInWindow = this.#active < this.#limit
  }

  #forgetMeasurements(): void {
    this.#measured = { bytes: 0, milliseconds: 0, windows: 0 }
  }

  /**
   * If the current limit brought clearly more bytes than the previous one, keeps it and tries a higher one. Otherwise returns to the
   * previous limit, once enough windows were measured.
   */
  #adjustLimit(now: number): void {
    const { maxConnections } = this.#settings
    const { bytes, milliseconds, windows } = this.#measured
    const rate = bytes / milliseconds
    const paidOff =
      this.#previous === undefined ||
      rate >= this.#previous.rate * gain ||
      (this.#multiplexed === true && this.#limit === maxConnections + 1)
    // Above `maxConnections` one window decides: either the additional request is answered, or the browser queues it.
    const needsMoreWindows = windows < windowsPerTrial && (this.#limit <= maxConnections || this.#multiplexed === true)
    if (!paidOff && needsMoreWindows) return
    this.#forgetMeasurements()
    if (!paidOff && this.#previous !== undefined) {
      if (this.#limit > maxConnections) this.#multiplexed ??= false
      this.#limit = this.#previous.limit
      this.#previous = undefined
      this.#holdUntil = now + holdMs
      return
    }
    const next = this.#nextLimit()
    if (next <= this.#limit) {
      this.#limit = next
      this.#previous = undefined
      return
    }
    this.#previous = { limit: this.#limit, rate }
    this.#limit = next
    this.#wake()
    // New connections deliver no bytes at first: measure them from the next window on.
    this.#idleInWindow = true
  }

  /** The limit to try when the current one paid off. */
  #nextLimit(): number {
    const { maxConnections, maxStreams } = this.#settings
    if (this.#limit < maxConnections) return Math.min(maxConnections, this.#limit + 2)
    if (this.#multiplexed === true) return Math.min(maxStreams, this.#limit + 2)
    // The one request above `maxConnections` was not answered while the others ran: do not try it again.
    if (this.#limit > maxConnections) this.#multiplexed = false
    return this.#multiplexed === undefined && maxStreams > maxConnections ? maxConnections + 1 : maxConnections
  }
}
