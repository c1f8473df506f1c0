/** The page's side of page-worker.ts: starts the workers that the engine's worker asks for, and passes their messages on. */

import type { FromHelper, ToHelper, WorkerRequest } from '../page-worker.js'
import { newWorker } from './spawn-worker.js'

/** The workers that the page has started for one engine. */
export class HelperWorkers {
  readonly #port: MessagePort
  readonly #running = new Set<Worker>()

  readonly #startWorker: (url: string, options: WorkerOptions) => Worker

  /** @param port the engine's worker has its other end */
  constructor(port: MessagePort, startWorker = newWorker) {
    this.#port = port
    this.#startWorker = startWorker
    port.onmessage = ({ data }: MessageEvent<WorkerRequest>) => this.#start(data)
  }

  /** Ends all of them. */
  terminate(): void {
    this.#port.onmessage = null
    this.#port.close()
    for (const worker of this.#running) worker.terminate()
    this.#running.clear()
  }

  #start({ url, options, port }: WorkerRequest): void {
    const send = (message: FromHelper, transfer: readonly MessagePort[] = []) => port.postMessage(message, [...transfer])
    let worker: Worker
    try {
      worker = this.#startWorker(url, options)
    } catch (error) {
      send({ kind: 'error', error: { message: error instanceof Error ? error.message : String(error) } })
      return
    }
    this.#running.add(worker)
    worker.onmessage = ({ data, ports }: MessageEvent<unknown>) => send({ kind: 'message', data }, ports)
    worker.onmessageerror = () => send({ kind: 'messageerror' })
    worker.onerror = (event) => {
      // The engine's worker reports it.
      event.preventDefault()
      // A script that cannot be loaded causes a plain event, without these.
      const { message, filename, lineno, colno } = event as Partial<ErrorEvent>
      const error = { message: message ?? '', filename: filename ?? '', lineno: lineno ?? 0, colno: colno ?? 0 }
      send({ kind: 'error', error })
    }
    port.onmessage = ({ data }: MessageEvent<ToHelper>) => {
      if (data.kind === 'message') return worker.postMessage(data.data, data.transfer)
      worker.terminate()
      this.#running.delete(worker)
      port.close()
      return undefined
    }
  }
}
