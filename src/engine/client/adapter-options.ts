/** The options of loading LoRAs and embeddings, with the hooks of a call. Only types. */

import type { LoadEmbeddingOptions, LoadLoraOptions } from '../../pipelines/adapter-types.js'
import type { ProgressReport } from './overall-progress.js'

/** Options of `DiffusionPipeline.loadTextualInversion`. */
export interface LoadEmbeddingCallOptions extends LoadEmbeddingOptions {
  /** Cancels the load; the promise rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
  /** Called with the progress of the download. */
  readonly onProgress?: ((progress: ProgressReport) => void) | undefined
}

/** Options of `DiffusionPipeline.loadLoraWeights`. */
export interface LoadLoraCallOptions extends LoadLoraOptions {
  /** Cancels the load; the promise rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
  /** Called with the progress of the download. */
  readonly onProgress?: ((progress: ProgressReport) => void) | undefined
}
