/** Turns counts of bytes into progress events: never falling, never above the total, and not one for each packet. */

import type { FileProgress, OpenOptions } from '../types.js'

/** An event each time this part of the file has come, or this many bytes, whichever is more. */
const eventsPerFile = 100
const eventBytes = 256 << 10

/** The progress of one file. */
export class ProgressMeter {
  readonly #emit: OpenOptions['onProgress']
  readonly #path: string
  readonly #total: number
  readonly #step: number
  #here = 0
  #cached = 0
  #shown: FileProgress | undefined
  #storage: 'memory' | undefined
  #also: ((progress: FileProgress) => void) | undefined

  constructor(path: string, total: number, emit: OpenOptions['onProgress']) {
    this.#path = path
    this.#total = total
    this.#emit = emit
    this.#step = Math.max(eventBytes, total / eventsPerFile)
  }

  /** Sends every event there as well. */
  also(emit: (progress: FileProgress) => void): void {
    this.#also = emit
  }

  /** Waits for its turn. */
  queued(): void {
    this.#show('queued')
  }

  /** Starts over with so many bytes already here. What was shown stays shown. */
  begin(cached: number): void {
    this.#here = cached
    this.#cached = cached
    this.#show('downloading')
  }

  /** Bytes that came; a negative number for bytes that were thrown away. */
  add(bytes: number): void {
    this.#here += bytes
    if (this.#shown === undefined || this.#here - this.#shown.loaded >= this.#step) this.#show('downloading')
  }

  /** A part of the file is kept in memory only. */
  notKept(): void {
    this.#storage = 'memory'
  }

  /** Bytes are here, and are being compared with the hash. */
  verifying(): void {
    this.#show('verifying')
  }

  /** All is here; `cached` of it was before. */
  complete(cached = this.#cached): void {
    this.#here = this.#total
    this.#cached = cached
    this.#show('complete')
  }

  /** What another tab tells of the same file. */
  mirror(loaded: number, phase: FileProgress['phase']): void {
    this.#here = loaded
    this.#show(phase === 'complete' ? 'verifying' : phase)
  }

  #show(phase: FileProgress['phase']): void {
    const loaded = Math.min(this.#total, Math.max(this.#shown?.loaded ?? 0, this.#here))
    const storage = this.#storage === undefined ? {} : { storage: this.#storage }
    const next = { path: this.#path, loaded, total: this.#total, cached: Math.min(this.#cached, loaded), phase, ...storage }
    if (this.#shown?.phase === phase && this.#shown.loaded === loaded) return
    this.#shown = next
    this.#emit?.(next)
    this.#also?.(next)
  }
}
