/** How many threads the CPU kernels use. */

/** With more threads than this, each would have too little work, because a network's matrix products are small. */
const most = 8

/**
 * How many threads to use: as many as there are cores, at most 8, in a page or a worker that can share memory between threads; elsewhere
 * only one. Sharing needs cross-origin isolation (COOP and COEP) and `SharedArrayBuffer`, which WebKitGTK lacks. The browser reports
 * hardware threads as cores (measured in bench/RESULTS.md).
 */
export function processorThreads(scope: ThreadScope = globalThis): number {
  const shares = scope.crossOriginIsolated && scope.SharedArrayBuffer !== undefined
  return shares ? Math.max(1, Math.min(scope.navigator.hardwareConcurrency, most)) : 1
}

/** What {@link processorThreads} reads of the global scope of a page or a worker. */
export interface ThreadScope {
  readonly crossOriginIsolated: boolean
  readonly SharedArrayBuffer?: unknown
  readonly navigator: { readonly hardwareConcurrency: number }
}
