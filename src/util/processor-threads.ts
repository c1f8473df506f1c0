/** How many threads the kernels of the processor use. */

/** More threads than this share too little work: a network's products are small. */
const most = 8

/**
 * The processor's threads, where they can share memory: in a page or a worker that is cross-origin isolated (COOP and COEP) and has `SharedArrayBuffer`, which
 * WebKitGTK lacks. Elsewhere 1. Reported cores count each hardware thread, and bench/RESULTS.md says what those gain.
 */
export function processorThreads(scope: ThreadScope = globalThis): number {
  const shares = scope.crossOriginIsolated && scope.SharedArrayBuffer !== undefined
  return shares ? Math.max(1, Math.min(scope.navigator.hardwareConcurrency, most)) : 1
}

/** What {@link processorThreads} asks of a page or a worker. */
export interface ThreadScope {
  readonly crossOriginIsolated: boolean
  readonly SharedArrayBuffer?: unknown
  readonly navigator: { readonly hardwareConcurrency: number }
}
