/**
 * A connection from the page to one worker, until that worker ends. It makes calls with cancellation and events, and settles every call,
 * even if the worker dies. It does not restart the worker; the client does.
 */

import { proxy, releaseProxy, transfer, wrap, type Remote } from 'comlink'
import { DeviceError } from '../../errors.js'
import { watchLifeLock } from '../life-lock.js'
import type { CallId, EngineApi, EngineEvent } from '../protocol.js'
import { HelperWorkers } from './helper-workers.js'
import type { EngineWorker } from './spawn-worker.js'

/** The options of a call. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  readonly onEvent?: ((event: EngineEvent) => void) | undefined
}

/** The options of a call whose result holds resources that must be freed. */
export interface OwningCallOptions<T> extends CallOptions {
  /** Receives a result that arrives after the call was aborted, because the worker had already finished. */
  readonly onLate?: ((value: T) => void) | undefined
}

type Invoke<T> = (engine: Remote<EngineApi>, call: CallId, onEvents: (events: readonly EngineEvent[]) => void) => Promise<T>

/** A running worker. */
export class Connection {
  readonly #worker: EngineWorker
  readonly #engine: Remote<EngineApi>
  readonly #helpers: HelperWorkers
  readonly #pending = new Set<(error: Error) => void>()
  readonly #watch = new AbortController()
  #death: DeviceError | undefined
  #nextCall = 1

  constructor(worker: EngineWorker, locks: LockManager | undefined = globalThis.navigator?.locks) {
    this.#worker = worker
    this.#engine = wrap<EngineApi>(worker)
    worker.addEventListener('error', (event) => {
      // Errors inside a call arrive as its result. This event means that the script did not load or the worker crashed.
      event.preventDefault()
      const { message } = event as Partial<ErrorEvent>
      if (message !== undefined && message !== '')
        return this.#die(`The engine stopped: its worker failed (${message}).`, message)
      const { navigator } = globalThis as { navigator?: { readonly onLine?: boolean } }
      if (navigator?.onLine === false) {
        const offline = 'The script of Aquatint’s worker could not be fetched, because the browser is offline.'
        return this.#end(new DeviceError('engine-not-fetched', offline, {}))
      }
      const blocked =
        'Aquatint’s worker could not be started: its script could not be fetched, or the page’s Content-Security-Policy refuses it. A policy must allow blob: and the host of the script in worker-src.'
      return this.#end(new DeviceError('engine-blocked', blocked, {}))
    })
    const { port1, port2 } = new MessageChannel()
    this.#helpers = new HelperWorkers(port1)
    void this.#guard(port2, locks)
  }

  get isAlive(): boolean {
    return this.#death === undefined
  }

  /**
   * Makes a call. Rejects at once when `signal` aborts, and asks the worker to cancel the call, which the worker does at its next check.
   * @throws DeviceError `engine-terminated` when the worker dies, `engine-blocked` or `engine-not-fetched` when it does not start
   */
  call<T>(invoke: Invoke<T>, { signal, onEvent, onLate }: OwningCallOptions<T> = {}): Promise<T> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
    if (this.#death !== undefined) return Promise.reject(this.#death)
    const call = this.#nextCall++
    return new Promise<T>((resolve, reject) => {
      let open = true
      const settle = (done: () => void) => {
        if (!open) return
        open = false
        this.#pending.delete(fail)
        signal?.removeEventListener('abort', onAbort)
        done()
      }
      const fail = (error: Error) => settle(() => reject(error))
      const onAbort = () => {
        fail(signal?.reason as Error)
        void this.#engine.cancel(call).catch(() => {})
      }
      const onEvents = proxy((events: readonly EngineEvent[]) => {
        if (open && onEvent !== undefined) for (const event of events) onEvent(event)
      })
      this.#pending.add(fail)
      signal?.addEventListener('abort', onAbort)
      invoke(this.#engine, call, onEvents).then((value) => (open ? settle(() => resolve(value)) : onLate?.(value)), fail)
    })
  }

  /** Ends the worker. All running calls reject. */
  terminate(): void {
    this.#die('The engine was terminated.')
  }

  async #guard(helpers: MessagePort, locks: LockManager | undefined): Promise<void> {
    try {
      const name = await this.#engine.hello(transfer(helpers, [helpers]))
      if (name === null || !this.isAlive) return
      await watchLifeLock(locks, name, this.#watch.signal, () => this.#die('The engine stopped: its worker is gone.'))
    } catch {
      // If `hello` or the lock fails, only the error events of the worker report its end.
    }
  }

  #die(message: string, reason?: string): void {
    this.#end(new DeviceError('engine-terminated', message, reason === undefined ? {} : { reason }))
  }

  #end(death: DeviceError): void {
    if (this.#death !== undefined) return
    this.#death = death
    this.#watch.abort()
    this.#worker.terminate()
    this.#helpers.terminate()
    for (const fail of this.#pending) fail(death)
    this.#pending.clear()
    this.#engine[releaseProxy]()
  }
}
