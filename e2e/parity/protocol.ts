/** What the parity runner and its page say to each other. Only types. */

import type { FixtureCase } from '../../src/pipelines/testing-cases.js'

/** Settings of one run of the harness. */
export interface ParitySettings {
  readonly endpoint: string
  readonly repo: string
  readonly device: 'wasm' | 'webgpu'
  readonly dtype: 'float32' | 'float16'
  readonly offload: 'auto' | 'resident' | 'model' | 'block'
}

/** A tensor on its way out of the browser: float32 bytes as base64. */
export interface TransferredTensor {
  readonly dims: readonly number[]
  readonly base64: string
}

declare global {
  interface Window {
    /** Set by the page: runs one case through the public API and hands back every tensor. */
    runParityCase?: (settings: ParitySettings, item: FixtureCase) => Promise<Record<string, TransferredTensor>>
  }
}
