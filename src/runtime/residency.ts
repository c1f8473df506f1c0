/**
 * Which components of a pipeline keep their weights, and when they give them up: `resident` (all stay) or `model` (the one in use,
 * the one before it unloaded first, as diffusers' `enable_model_cpu_offload`). Within a component, streaming blocks is the
 * backend's; what fits where is plan.ts.
 */

import { throwIfAborted } from '../util/abort.js'
import type { Component, LoadOptions } from './types.js'

export class Residency {
  readonly mode: 'resident' | 'model'
  readonly #components: readonly Component[]

  constructor(mode: 'resident' | 'model', components: readonly Component[]) {
    this.mode = mode
    this.#components = components
  }

  /** Loads `component`, unloading the others first where only one may stay. @throws what loading throws */
  async use(component: Component, options: LoadOptions = {}): Promise<void> {
    throwIfAborted(options.signal)
    if (this.mode === 'model') await this.#unloadAllBut(component)
    await component.load(options)
  }

  /** Unloads all components. */
  async release(): Promise<void> {
    await this.#unloadAllBut(undefined)
  }

  async #unloadAllBut(kept: Component | undefined): Promise<void> {
    for (const other of this.#components) if (other !== kept && other.isLoaded) await other.unload()
  }
}
