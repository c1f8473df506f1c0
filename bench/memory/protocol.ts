/** The messages between the memory benchmarks and their page. Contains only types. */

import type { Config } from '../../src/checkpoint/types.js'
import type { OffloadMode, QuantizationName, WeightsDType } from '../../src/pipelines/types.js'
import type { Residence } from '../../src/memory/plan.js'
import type { MemorySnapshot } from '../../src/runtime/types.js'
import type { DeviceKind } from '../../src/memory/device-info.js'
import type { Shapes } from '../../src/onnx/types.js'

/** A request for images of one seed, generated through the public API. */
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
  /** How often to generate the image. */
  readonly images: number
  readonly timeSteps?: boolean | undefined
}

export interface ImageResult {
  readonly device: string
  /** The image's plan for its device: which weights stay on the device, the peak, and the bytes of weights that runs upload repeatedly. */
  readonly planned: { readonly residence: Residence; readonly peakBytes: number; readonly streamedBytes: number }
  /** The type in which the denoiser computes. */
  readonly computes: string
  /** Bytes of all weights, in the stored type. */
  readonly weightBytes: number
  /** The load with an empty cache, and a second load from the cache. */
  readonly loadSeconds: number
  readonly reloadSeconds: number
  /** The seconds of each image; the first one compiles every kernel. */
  readonly imageSeconds: readonly number[]
  /** The mean time of a step after the first: (time of an image − time with one step) / (steps − 1). Only with `timeSteps`. */
  readonly stepSeconds?: number | undefined
  readonly memory: MemorySnapshot
  /** A hash of the pixels. */
  readonly pixels: number
  /** The warnings in the images' results, such as a lost device or a tighter plan. */
  readonly warnings: readonly string[]
}

/** A request to run one network of a repository several times, downloaded through the cache. */
export interface NetworkRequest {
  readonly endpoint: string
  readonly repo: string
  readonly name: string
  readonly className: string
  readonly config: Config
  readonly shapes: Shapes
  /** The type to which the weights are quantized first. */
  readonly quantization?: QuantizationName | undefined
  /** The budget for weights and activations in bytes. If undefined, all weights stay on the GPU. */
  readonly maxMemory: number | undefined
  readonly runs: number
}

export interface NetworkResult {
  readonly device: string
  readonly downloadSeconds: number
  /** The seconds for quantizing, if requested. */
  readonly quantizeSeconds: number
  /** The seconds of each run; the first one includes loading and compiling. */
  readonly runSeconds: readonly number[]
  readonly plannedPeak: number
  readonly memory: MemorySnapshot
  /** The largest magnitude of the output; the benchmark fails if the output is not finite or all zero. */
  readonly largest: number
}

declare global {
  interface Window {
    makeImage?: (request: ImageRequest) => Promise<ImageResult>
    runNetwork?: (request: NetworkRequest) => Promise<NetworkResult>
  }
}
