/** The engine as a page sees it: starts the worker at the first call, and again after the worker was lost. */

import { installErrorTransfer } from '../protocol.js'
import { Connection } from './connection.js'
import { spawnWorker, type EngineWorker, type WorkerKind } from './spawn-worker.js'

/** Options of {@link Engine}. */
export interface EngineOptions {
  /** How the worker is started; `auto` uses a blob worker if the script is on another origin. */
  readonly worker?: WorkerKind | (() => EngineWorker) | undefined
}

/**
 * A worker that runs pipelines. The pipelines of an engine share its runtime and its cache, and generate one at a time; each has its own
 * GPU device and memory account.
 */
export class Engine {
  readonly #spawn: () => EngineWorker
  #connection: Connection | undefined

  /** Does not start the worker; the first call does. */
  constructor({ worker = 'auto' }: EngineOptions = {}) {
    this.#spawn = typeof worker === 'function' ? worker : () => spawnWorker(worker)
  }

  /**
   * The running worker, started if necessary.
   * @internal
   */
  connect(): Connection {
    if (this.#connection?.isAlive !== true) {
      installErrorTransfer()
      this.#connection = new Connection(this.#spawn())
    }
    return this.#connection
  }

  /** Ends the worker at once. Running calls reject with DeviceError `engine-terminated`. The next call starts a new worker. */
  terminate(): void {
    this.#connection?.terminate()
    this.#connection = undefined
  }
}

let shared: Engine | undefined

/** The engine that all pipelines of a page use by default. */
export function sharedEngine(): Engine {
  shared ??= new Engine()
  return shared
}
