/**
 * Hashes large files in a worker. One worker serves all files of a hub: it starts when a large file needs it and is terminated when
 * no hasher is left. When a Content-Security-Policy or the browser forbids the worker, files are hashed in this thread instead.
 */

import { HubError } from '../../errors.js'
import { FileHasher, type CreateHasher, type Hasher } from '../cache/file-hasher.js'
import HashWorker from './hash.worker.ts?worker&inline'
import type { HashCall, HashAnswer } from './hash-protocol.js'

/** Files with fewer bytes are hashed in this thread: that takes less time than starting a worker. */
const smallBytes = 8 << 20

interface Waiting {
  readonly resolve: (answer: HashAnswer) => void
  readonly reject: (error: Error) => void
}

/** A call before it is numbered. */
type Unnumbered<Call> = Call extends HashCall ? Omit<Call, 'call'> : never

/** The hash worker, and the hashers in it. */
export class HashThread {
  #worker: Worker | undefined
  /** Whether a worker could not be started, or died. */
  #unavailable = false
  #calls = 0
  #files = 0
  readonly #open = new Set<number>()
  readonly #waiting = new Map<number, Waiting>()

  /** Makes a hasher in the worker, or in this thread for a small file. See {@link CreateHasher}. */
  readonly create: CreateHasher = async (algorithm, size, state) => {
    if (size < smallBytes || this.#unavailable || !this.#start()) return FileHasher.create(algorithm, size, state)
    const file = ++this.#files
    this.#open.add(file)
    try {
      await this.#ask({ kind: 'create', file, algorithm, size, state })
    } catch (error) {
      this.#close(file)
      if (!this.#unavailable) throw error
      return FileHasher.create(algorithm, size, state)
    }
    return this.#hasher(file, state)
  }

  #hasher(file: number, start: Uint8Array | undefined): Hasher {
    let last = start ?? new Uint8Array(0)
    return {
      update: async (bytes) => {
        const { state } = await this.#ask({ kind: 'update', file, bytes }, [bytes.buffer])
        last = state ?? last
      },
      save: () => last,
      digest: async () => {
        const { hex } = await this.#ask({ kind: 'digest', file })
        this.#close(file)
        return hex ?? ''
      },
      close: () => this.#close(file),
    }
  }

  #start(): boolean {
    if (this.#worker !== undefined) return true
    try {
      const worker = new HashWorker()
      worker.addEventListener('message', ({ data }: MessageEvent<HashAnswer>) => {
        const waiting = this.#waiting.get(data.call)
        this.#waiting.delete(data.call)
        if (data.problem === undefined) waiting?.resolve(data)
        else waiting?.reject(new Error(data.problem))
      })
      worker.addEventListener('error', () => this.#lose())
      this.#worker = worker
    } catch {
      this.#unavailable = true
    }
    return !this.#unavailable
  }

  /** Stops using the worker, which did not start or has died. */
  #lose(): void {
    this.#unavailable = true
    this.#worker?.terminate()
    this.#worker = undefined
    for (const { reject } of this.#waiting.values()) reject(lost())
    this.#waiting.clear()
  }

  #ask(call: Unnumbered<HashCall>, transfer: Transferable[] = []): Promise<HashAnswer> {
    const worker = this.#worker
    if (worker === undefined) return Promise.reject(lost())
    const number = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      worker.postMessage({ ...call, call: number }, transfer)
    })
  }

  #close(file: number): void {
    if (!this.#open.delete(file)) return
    if (this.#open.size > 0) {
      this.#worker?.postMessage({ kind: 'close', file, call: ++this.#calls } satisfies HashCall)
      return
    }
    this.#worker?.terminate()
    this.#worker = undefined
    for (const { reject } of this.#waiting.values()) reject(lost())
    this.#waiting.clear()
  }
}

function lost(): HubError {
  return new HubError('hash-thread-lost', 'The browser ended the worker that hashes downloads. Load the model again to resume.')
}
