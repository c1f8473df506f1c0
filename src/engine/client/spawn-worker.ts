/** Starts the worker, also if its script is on another origin than the page. */

/** The part of `Worker` that the client uses. */
export type EngineWorker = Pick<Worker, 'postMessage' | 'addEventListener' | 'removeEventListener' | 'terminate'>

/** How the worker is started. `auto`: by URL, or from a blob if the script is on another origin. */
export type WorkerKind = 'auto' | 'url' | 'blob'

/** Starts a worker. @throws SecurityError if the Content-Security-Policy of the page forbids it */
export function spawnWorker(kind: WorkerKind): EngineWorker {
  /** Takes the place of `Worker` in the expression that bundlers recognize (see `start`), so that its URL can be inspected first. */
  class Starter {
    readonly worker: EngineWorker
    constructor(url: URL, options: WorkerOptions) {
      const blob = kind === 'blob' || (kind === 'auto' && url.origin !== location.origin)
      this.worker = blob ? spawnFromBlob(url, options) : new globalThis.Worker(url, options)
    }
  }
  return start(Starter).worker
}

function start<T>(Worker: new (url: URL, options: WorkerOptions) => T): T {
  return new Worker(new URL('../engine.worker.ts', import.meta.url), { type: 'module' })
}

/** Browsers refuse a worker script from another origin, but a worker of this origin may import it (with CORS). */
function spawnFromBlob(url: URL, options: WorkerOptions): EngineWorker {
  const script = new Blob([`import ${JSON.stringify(url.href)}\n`], { type: 'text/javascript' })
  const blobUrl = URL.createObjectURL(script)
  const worker = new globalThis.Worker(blobUrl, options)
  // The URL must stay valid until the worker has read its script, that is, until its first message.
  const revoke = () => URL.revokeObjectURL(blobUrl)
  worker.addEventListener('message', revoke, { once: true })
  worker.addEventListener('error', revoke, { once: true })
  return worker
}
