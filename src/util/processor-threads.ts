/** How many threads the kernels of the processor use. */

/** More threads than this share too little work: a network's products are small. */
const most = 8

/**
 * How many threads to use: as many as there are cores, at most 8, in a page or a worker that is cross-origin isolated (COOP and COEP); elsewhere 1,
 * because browsers share memory between threads only there. The browser reports hardware threads as cores (measured in bench/RESULTS.md).
 */
export function processorThreads({ crossOriginIsolated, navigator }: ThreadScope = globalThis): number {
  return crossOriginIsolated ? Math.max(1, Math.min(navigator.hardwareConcurrency, most)) : 1
}

/** What {@link processorThreads} reads of the global scope of a page or a worker. */
export interface ThreadScope {
  readonly crossOriginIsolated: boolean
  readonly navigator: { readonly hardwareConcurrency: number }
}
