/** How many threads the kernels of the processor use. */

/** More threads than this share too little work: a network's products are small. */
const most = 8

/**
 * The processor's threads, in a page or a worker that is cross-origin isolated (COOP and COEP): only there do browsers share memory between threads.
 * Elsewhere 1. Reported cores count each hardware thread, and bench/RESULTS.md says what those gain.
 */
export function processorThreads({ crossOriginIsolated, navigator }: ThreadScope = globalThis): number {
  return crossOriginIsolated ? Math.max(1, Math.min(navigator.hardwareConcurrency, most)) : 1
}

/** What {@link processorThreads} asks of a page or a worker. */
export interface ThreadScope {
  readonly crossOriginIsolated: boolean
  readonly navigator: { readonly hardwareConcurrency: number }
}
