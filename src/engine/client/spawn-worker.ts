/** Starts the worker, also if its script is on another origin than the page. */

import { DeviceError } from '../../errors.js'

/** The part of `Worker` that the client uses. */
export type EngineWorker = Pick<Worker, 'postMessage' | 'addEventListener' | 'removeEventListener' | 'terminate'>

/** How the worker is started. `auto`: by URL, or from a blob if the script is on another origin. */
export type WorkerKind = 'auto' | 'url' | 'blob'

/** Starts a worker. @throws DeviceError `engine-blocked` if the page does not allow it */
export function spawnWorker(kind: WorkerKind): EngineWorker {
  /** Replaces `Worker` in the expression that bundlers recognize (see `start`), so that it can read the URL before a worker starts. */
  class Starter {
    readonly worker: EngineWorker
    constructor(url: URL, options: WorkerOptions) {
      // Not `location.origin`: a frame that is sandboxed without `allow-same-origin` has an opaque origin (`origin` is "null").
      const blob = kind === 'blob' || (kind === 'auto' && url.origin !== globalThis.origin)
      this.worker = blob ? spawnFromBlob(url, options) : newWorker(url.href, options)
    }
  }
  return start(Starter).worker
}

function start<T>(Worker: new (url: URL, options: WorkerOptions) => T): T {
  return new Worker(new URL('../engine.worker.ts', import.meta.url), { type: 'module' })
}

/** Browsers refuse a worker script from another origin, but a worker of this origin may import it (with CORS). */
function spawnFromBlob(url: URL, options: WorkerOptions): EngineWorker {
  const source = `import ${JSON.stringify(url.href)}\n`
  // A document with an opaque origin cannot start a module worker from a Blob; from a data: URL it can.
  if (globalThis.origin === 'null') return newWorker(`data:text/javascript,${encodeURIComponent(source)}`, options)
  const script = new Blob([source], { type: 'text/javascript' })
  const blobUrl = URL.createObjectURL(script)
  const worker = newWorker(blobUrl, options)
  // The URL must stay valid until the worker has read its script, that is, until its first message.
  const revoke = () => URL.revokeObjectURL(blobUrl)
  worker.addEventListener('message', revoke, { once: true })
  worker.addEventListener('error', revoke, { once: true })
  return worker
}

/** The part of the Trusted Types API that is used here. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): { createScriptURL(url: string): string }
}

let policy: ReturnType<TrustedTypes['createPolicy']> | undefined

/** Converts the URL for a page that requires Trusted Types. The policy checks nothing, because this file passes only the address of its own script. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes }
  if (trustedTypes === undefined) return url
  policy ??= trustedTypes.createPolicy('aquatint', { createScriptURL: (own) => own })
  return policy.createScriptURL(url)
}

/** Starts a worker from a URL. @throws DeviceError `engine-blocked` if the page does not allow it */
export function newWorker(url: string, options: WorkerOptions): Worker {
  try {
    return new globalThis.Worker(trusted(url), options)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new DeviceError(
      'engine-blocked',
      `The page does not let Aquatint start its worker. Its Content-Security-Policy must allow blob: and the host of the script in worker-src, and the policy "aquatint" in trusted-types where it requires Trusted Types. The browser says: ${reason}`,
      { reason },
      cause,
    )
  }
}
