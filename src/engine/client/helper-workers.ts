/** The page's side of page-worker.ts: starts the workers that the engine's worker requests, and passes their messages on. */

import { errorOf, type FromHelper, type ToHelper, type WorkerRequest } from '../page-worker.js'
import { newWorker } from './spawn-worker.js'

/** The workers that the page has started for one engine. */
export class HelperWorkers {
  readonly #port: MessagePort
  readonly #startWorker: typeof newWorker
  readonly #running = new Set<Worker>()
  readonly #end = new AbortController()

  /** @param port the port through which the engine's worker sends its requests */
  constructor(port: MessagePort, startWorker = newWorker) {
    this.#port = port
    this.#startWorker = startWorker
    port.addEventListener('message', ({ data }: MessageEvent<WorkerRequest>) => this.#start(data), { signal: this.#end.signal })
    port.start()
  }

  /** Ends all helper workers. */
  terminate(): void {
    this.#end.abort()
    this.#port.close()
    for (const worker of this.#running) worker.terminate()
    this.#running.clear()
  }

  #start({ url, options, port }: WorkerRequest): void {
    const send = (message: FromHelper, ports: readonly MessagePort[] = []) => port.postMessage(message, [...ports])
    let worker: Worker
    try {
      worker = this.#startWorker(url, options)
    } catch (error) {
      send({ kind: 'error', error: { message: error instanceof Error ? error.message : String(error) } })
      return
    }
    this.#running.add(worker)
    worker.addEventListener('message', ({ data, ports }: MessageEvent<unknown>) => send({ kind: 'message', data }, ports))
    worker.addEventListener('messageerror', () => send({ kind: 'messageerror' }))
    worker.addEventListener('error', (event) => send({ kind: 'error', error: errorOf(event) }))
    port.addEventListener('message', ({ data }: MessageEvent<ToHelper>) => {
      if (data.kind === 'message') return worker.postMessage(data.data, data.transfer)
      worker.terminate()
      this.#running.delete(worker)
      port.close()
      return undefined
    })
    port.start()
  }
}
