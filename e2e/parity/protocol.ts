/** What the parity runner and its page say to each other. Only types. */

/** One case of a fixture, as `case.json` holds it. */
export interface ParityCase {
  readonly pipeline: string
  readonly prompt: string
  readonly prompt_2?: string | null
  readonly negative_prompt?: string | null
  readonly seed: number
  readonly num_inference_steps: number
  readonly guidance_scale: number
  readonly height: number
  readonly width: number
  readonly scheduler?: string | null
  readonly dtype?: 'float32' | 'float16'
  /** Path of the repository, relative to the fixture's folder; `repo` by default. */
  readonly repo?: string
  readonly extra?: Readonly<Record<string, unknown>>
}

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
    runParityCase?: (settings: ParitySettings, item: ParityCase) => Promise<Record<string, TransferredTensor>>
  }
}
