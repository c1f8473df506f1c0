/** The messages between the parity runner and its page. Contains only types. */

import type { FixtureCase } from '../../src/pipelines/testing-cases.js'

/** The settings of one parity run. */
export interface ParitySettings {
  readonly endpoint: string
  readonly repo: string
  readonly device: 'wasm' | 'webgpu'
  readonly dtype: 'float32' | 'float16'
  readonly offload: 'auto' | 'resident' | 'model' | 'block'
}

/** A tensor that the browser returns: float32 bytes as base64. */
export interface TransferredTensor {
  readonly dims: readonly number[]
  readonly base64: string
}

declare global {
  interface Window {
    /** The page sets this function, which runs one case through the public API and returns every tensor. */
    runParityCase?: (settings: ParitySettings, item: FixtureCase) => Promise<Record<string, TransferredTensor>>
  }
}
