/** What the memory benches and their page say to each other. Only types. */

import type { Config } from '../../src/checkpoint/types.js'
import type { OffloadMode, QuantizationName, WeightsDType } from '../../src/pipelines/types.js'
import type { Residence } from '../../src/memory/plan.js'
import type { MemorySnapshot } from '../../src/runtime/types.js'
import type { DeviceKind } from '../../src/memory/device-info.js'
import type { Shapes } from '../../src/onnx/types.js'

/** Images of one seed by the public API. */
export interface ImageRequest {
  readonly endpoint: string
  readonly repo: string
  readonly device: DeviceKind
  readonly dtype?: WeightsDType | undefined
  readonly offload: OffloadMode
  readonly maxMemory: number | undefined
  readonly size: number
  readonly steps: number
  readonly guidanceScale?: number | undefined
  /** How often the image is made. */
  readonly images: number
  readonly timeSteps?: boolean | undefined
}

export interface ImageResult {
  readonly device: string
  /** What the plan of the image says of its device: how weights stay, the peak, and the bytes of weights that runs upload again. */
  readonly planned: { readonly residence: Residence; readonly peakBytes: number; readonly streamedBytes: number }
  /** What the denoiser computes in. */
  readonly computes: string
  /** Bytes of all weights in the form that is kept. */
  readonly weightBytes: number
  /** With an empty cache, and again from what the first load left there. */
  readonly loadSeconds: number
  readonly reloadSeconds: number
  /** Each image; the first one compiles every kernel. */
  readonly imageSeconds: readonly number[]
  /** What an image with all steps takes longer than one with a single step, by step; where that was asked for. */
  readonly stepSeconds?: number | undefined
  readonly memory: MemorySnapshot
  /** A number for the pixels: equal for equal images. */
  readonly pixels: number
  /** What the images' results warned of: a lost device, a tighter plan. */
  readonly warnings: readonly string[]
}

/** One network alone, from a repository through the cache, run some times. */
export interface NetworkRequest {
  readonly endpoint: string
  readonly repo: string
  readonly name: string
  readonly className: string
  readonly config: Config
  readonly shapes: Shapes
  /** Make the weights small first. */
  readonly quantization?: QuantizationName | undefined
  /** Bytes for weights and activations, or undefined: all weights stay. */
  readonly maxMemory: number | undefined
  readonly runs: number
}

export interface NetworkResult {
  readonly device: string
  readonly downloadSeconds: number
  /** Making the small form, where one was asked for. */
  readonly quantizeSeconds: number
  /** Each run, the first with loading and compiling. */
  readonly runSeconds: readonly number[]
  readonly plannedPeak: number
  readonly memory: MemorySnapshot
  /** The largest value of the output, which is finite and not all zero. */
  readonly largest: number
}

declare global {
  interface Window {
    makeImage?: (request: ImageRequest) => Promise<ImageResult>
    runNetwork?: (request: NetworkRequest) => Promise<NetworkResult>
  }
}
