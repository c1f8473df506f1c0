/**
 * Workers that the engine's worker needs, such as onnxruntime's threads, started by the page. Firefox can lose the wake-up of a worker that starts a worker
 * itself: `new Worker` then never returns (docs/architecture.md, "Workers are started by the page").
 */

/** What the engine's worker asks of the page: a new worker, whose messages go through `port`. */
export interface WorkerRequest {
  readonly url: string
  readonly options: WorkerOptions
  readonly port: MessagePort
}

/** A message from the engine's worker to a helper: a worker that the page started for the engine. */
export type ToHelper =
  | { readonly kind: 'message'; readonly data: unknown; readonly transfer: Transferable[] }
  | { readonly kind: 'terminate' }

/** A message from a helper to the engine's worker. */
export type FromHelper =
  | { readonly kind: 'message'; readonly data: unknown }
  | { readonly kind: 'messageerror' }
  | { readonly kind: 'error'; readonly error: Pick<ErrorEventInit, 'message' | 'filename' | 'lineno' | 'colno'> }

/** A message that was sent to a worker before its first answer. */
interface Unanswered {
  readonly data: unknown
  readonly transfers: boolean
}

/**
 * Replaces this thread's class `Worker` by one that lets the page start the workers.
 * @param pagePort the port to the page, which receives the requests in client/helper-workers.ts
 */
export function installPageWorkers(pagePort: MessagePort, scope: { Worker?: unknown } = globalThis): void {
  const OwnWorker = scope.Worker as typeof Worker
  scope.Worker = class extends PageWorker {
    constructor(url: string | URL, options?: WorkerOptions) {
      super(url, options, pagePort, OwnWorker)
    }
  }
}

/**
 * A `Worker` that the page starts. A Content-Security-Policy or an opaque origin may forbid the page to start a worker, but not this
 * thread: if the page cannot start the worker, this thread does.
 */
class PageWorker extends EventTarget {
  onmessage: ((event: MessageEvent) => void) | null = null
  onmessageerror: ((event: MessageEvent) => void) | null = null
  onerror: ((event: ErrorEvent) => void) | null = null
  readonly #url: string
  readonly #options: WorkerOptions
  readonly #port: MessagePort
  /** Aborted when the worker is terminated. Messages of the worker that arrive later are ignored. */
  readonly #end = new AbortController()
  readonly #OwnWorker: typeof Worker
  /** The messages sent before the worker's first answer. Undefined afterwards. */
  #unanswered: Unanswered[] | undefined = []
  /** The worker that this thread has started because the page could not. */
  #own: Worker | undefined

  constructor(url: string | URL, options: WorkerOptions = {}, pagePort: MessagePort, OwnWorker: typeof Worker) {
    super()
    this.#url = new URL(url, location.href).href
    const { type, name, credentials } = options
    this.#options = {
      ...(type === undefined ? {} : { type }),
      ...(name === undefined ? {} : { name }),
      ...(credentials === undefined ? {} : { credentials }),
    }
    this.#OwnWorker = OwnWorker
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const { signal } = this.#end
    port1.addEventListener('message', ({ data, ports }: MessageEvent<FromHelper>) => this.#receive(data, ports), { signal })
    port1.start()
    this.addEventListener('message', (event) => this.onmessage?.(event as MessageEvent))
    this.addEventListener('messageerror', (event) => this.onmessageerror?.(event as MessageEvent))
    this.addEventListener('error', (event) => this.onerror?.(event as ErrorEvent))
    pagePort.postMessage({ url: this.#url, options: this.#options, port: port2 } satisfies WorkerRequest, [port2])
  }

  postMessage(data: unknown, options: Transferable[] | StructuredSerializeOptions = []): void {
    const transfer = Array.isArray(options) ? options : (options.transfer ?? [])
    if (this.#own !== undefined) return this.#own.postMessage(data, transfer)
    this.#port.postMessage({ kind: 'message', data, transfer } satisfies ToHelper, transfer)
    this.#unanswered?.push({ data, transfers: transfer.length > 0 })
  }

  terminate(): void {
    this.#own?.terminate()
    this.#end.abort()
    this.#port.postMessage({ kind: 'terminate' } satisfies ToHelper)
    this.#port.close()
  }

  #receive(answer: FromHelper, ports: readonly MessagePort[]): void {
    if (answer.kind === 'error' && this.#startHere()) return
    this.#unanswered = undefined
    this.#pass(answer, ports)
  }

  #pass(answer: FromHelper, ports: readonly MessagePort[] = []): void {
    if (answer.kind === 'message') this.dispatchEvent(new MessageEvent('message', { data: answer.data, ports: [...ports] }))
    else if (answer.kind === 'messageerror') this.dispatchEvent(new MessageEvent('messageerror'))
    else this.dispatchEvent(new ErrorEvent('error', answer.error))
  }

  /**
   * Starts the worker in this thread if the page's worker has not answered yet. Returns whether this thread started it. It does not if
   * objects were transferred to the page, because they cannot be sent again.
   */
  #startHere(): boolean {
    const unanswered = this.#unanswered
    this.#unanswered = undefined
    if (unanswered === undefined || unanswered.some(({ transfers }) => transfers)) return false
    try {
      const own = new this.#OwnWorker(this.#url, this.#options)
      const { signal } = this.#end
      own.addEventListener('message', ({ data, ports }) => this.#pass({ kind: 'message', data }, ports), { signal })
      own.addEventListener('messageerror', () => this.#pass({ kind: 'messageerror' }), { signal })
      own.addEventListener('error', (event) => this.#pass({ kind: 'error', error: errorOf(event) }), { signal })
      for (const { data } of unanswered) own.postMessage(data)
      this.#own = own
    } catch {
      return false
    }
    return true
  }
}

/** Marks an error event as handled, and returns its fields. Empty fields mean that the script could not be loaded. */
export function errorOf(event: Event & Partial<ErrorEvent>): Extract<FromHelper, { kind: 'error' }>['error'] {
  event.preventDefault()
  const { message = '', filename = '', lineno = 0, colno = 0 } = event
  return { message, filename, lineno, colno }
}
