/** The page's hold on an engine: starts its worker with the first call, and again after the worker was lost. */

import { installErrorTransfer } from '../protocol.js'
import { Connection } from './connection.js'
import { spawnWorker, type EngineWorker, type WorkerKind } from './spawn-worker.js'

/** Options of {@link Engine}. */
export interface EngineOptions {
  /** How the worker is started; `auto` uses a blob worker where the script is on another origin. */
  readonly worker?: WorkerKind | (() => EngineWorker) | undefined
}

/**
 * One worker in which pipelines run. Pipelines of one engine share its runtime and its cache, and generate one at a time; each has a
 * GPU device and a memory account of its own.
 */
export class Engine {
  readonly #spawn: () => EngineWorker
  #connection: Connection | undefined

  /** Starts nothing yet: the worker starts with the first call. */
  constructor({ worker = 'auto' }: EngineOptions = {}) {
    this.#spawn = typeof worker === 'function' ? worker : () => spawnWorker(worker)
  }

  /**
   * The running worker, started now if need be.
   * @internal
   */
  connect(): Connection {
    if (this.#connection?.isAlive !== true) {
      installErrorTransfer()
      this.#connection = new Connection(this.#spawn())
    }
    return this.#connection
  }

  /** Ends the worker at once; everything under way rejects with DeviceError `engine-terminated`. The next call starts a new one. */
  terminate(): void {
    this.#connection?.terminate()
    this.#connection = undefined
  }
}

let shared: Engine | undefined

/** The engine that every pipeline of a page uses unless told otherwise. */
export function sharedEngine(): Engine {
  shared ??= new Engine()
  return shared
}
