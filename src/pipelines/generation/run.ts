/** What a call of a pipeline carries besides its data: the signal, the listeners, and the warnings it collects. */

import type { PipelinePhase, PipelineProgress, StepInfo } from '../types.js'

/** Listeners and the signal of one call. */
export interface CallHooks {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: PipelineProgress) => void) | undefined
}

/** Those of a generation. */
export interface GenerateHooks extends CallHooks {
  readonly onStep?: ((step: StepInfo) => void) | undefined
}

/** One call as it runs. */
export class Run {
  readonly signal: AbortSignal | undefined
  readonly warnings: string[] = []
  readonly #onProgress: ((progress: PipelineProgress) => void) | undefined

  constructor({ signal, onProgress }: CallHooks) {
    this.signal = signal
    this.#onProgress = onProgress
  }

  report(progress: PipelineProgress): void {
    this.#onProgress?.(progress)
  }

  status(phase: PipelinePhase, component?: string): void {
    this.report({ type: 'status', phase, component })
  }

  /** Tells the caller something it should know, at once and with the result. `once`: not again, where work is done again. */
  warn(code: string, message: string, { once = false }: { readonly once?: boolean } = {}): void {
    if (once && this.warnings.includes(message)) return
    this.warnings.push(message)
    this.report({ type: 'warning', code, message })
  }
}
