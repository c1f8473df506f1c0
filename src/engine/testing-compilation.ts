/** For tests: a real worker whose compute pipelines are counted. Not part of the library. */

import { Engine } from './client/engine-client.js'

/** A message from testing-count-kernels.ts to the page. */
export type CompilationMessage = { readonly compiled: string } | { readonly prepared: true }

/** An engine, and the names of the kernels that its worker has compiled. */
export interface CountingEngine {
  readonly engine: Engine
  /** Kernels that were compiled before the last preparation of kernels ended. */
  readonly before: readonly string[]
  /** Kernels that were compiled later. */
  readonly after: readonly string[]
}

/** Starts the worker at the first call. */
export function countingEngine(): CountingEngine {
  const [before, after]: [string[], string[]] = [[], []]
  const engine = new Engine({
    worker: () => {
      const worker = new Worker(new URL('testing-counting.worker.ts', import.meta.url), { type: 'module' })
      worker.addEventListener('message', ({ data }: MessageEvent<Partial<Record<'compiled' | 'prepared', unknown>> | null>) => {
        if (data?.prepared === true) before.push(...after.splice(0))
        if (typeof data?.compiled === 'string') after.push(data.compiled)
      })
      return worker
    },
  })
  return { engine, before, after }
}
