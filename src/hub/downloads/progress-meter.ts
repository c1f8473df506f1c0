/** Turns counts of bytes into progress events. `loaded` never falls and never exceeds `total`, and not every packet causes an event. */

import type { FileProgress, OpenOptions } from '../types.js'

/** Arriving bytes cause an event after each `total`/`eventsPerFile` bytes or after each `eventBytes`, whichever is more. */
const eventsPerFile = 100
const eventBytes = 256 << 10

/** The progress of one file. */
export class ProgressMeter {
  readonly #emit: OpenOptions['onProgress']
  readonly #path: string
  readonly #total: number
  readonly #step: number
  #present = 0
  #cached = 0
  #last: FileProgress | undefined
  #storage: 'memory' | undefined
  #also: ((progress: FileProgress) => void) | undefined

  /** @param total bytes to have at the end: those of the whole file, or of the chunks of it that are wanted */
  constructor(path: string, total: number, emit: OpenOptions['onProgress']) {
    this.#path = path
    this.#total = total
    this.#emit = emit
    this.#step = Math.max(eventBytes, total / eventsPerFile)
  }

  /** Also sends every later event to `emit`. */
  also(emit: (progress: FileProgress) => void): void {
    this.#also = emit
  }

  /** The file waits for another download. */
  queued(): void {
    this.#show('queued')
  }

  /** The download starts, or starts over, with `cached` bytes present. The reported `loaded` does not fall. */
  begin(cached: number): void {
    this.#present = cached
    this.#cached = cached
    this.#show('downloading')
  }

  /** Bytes arrived; a negative number when bytes were discarded. */
  add(bytes: number): void {
    this.#present += bytes
    if (this.#last === undefined || this.#present - this.#last.loaded >= this.#step) this.#show('downloading')
  }

  /** A part of the file is in memory only, because it could not be stored. */
  notKept(): void {
    this.#storage = 'memory'
  }

  /** All bytes are present and are being compared with the hash. */
  verifying(): void {
    this.#show('verifying')
  }

  /** The file is complete; `cached` bytes of it were present before. */
  complete(cached = this.#cached): void {
    this.#present = this.#total
    this.#cached = cached
    this.#show('complete')
  }

  /** Another tab reports the progress of the same file. If that tab gets other parts of the file, this file counts as queued. */
  mirror({ loaded, total, phase }: Pick<FileProgress, 'loaded' | 'total' | 'phase'>): void {
    if (total !== this.#total) return this.queued()
    this.#present = loaded
    this.#show(phase === 'complete' ? 'verifying' : phase)
  }

  #show(phase: FileProgress['phase']): void {
    const loaded = Math.min(this.#total, Math.max(this.#last?.loaded ?? 0, this.#present))
    const storage = this.#storage === undefined ? {} : { storage: this.#storage }
    const next = { path: this.#path, loaded, total: this.#total, cached: Math.min(this.#cached, loaded), phase, ...storage }
    if (this.#last?.phase === phase && this.#last.loaded === loaded) return
    this.#last = next
    this.#emit?.(next)
    this.#also?.(next)
  }
}
