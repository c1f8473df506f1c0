/** What the runtime offers to pipelines: devices, tensors that may live on a GPU, components, and the account of memory. Only types. */

import type { ElementType } from '../onnx/types.js'

/** A tensor in host memory. `data` holds `product(dims)` elements of `type` (float16 as its bit patterns). */
export interface HostTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  readonly data: Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array
}

/** A tensor that may live on a device. Whoever receives one disposes it. */
export interface DeviceTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  /** The values as float32 (float16 is widened), copied to the host. */
  read(): Promise<Float32Array<ArrayBuffer>>
  dispose(): void
}

/** Bytes of one component's buffers on one device. */
export interface ComponentMemory {
  readonly weights: number
  readonly activations: number
  readonly peakWeights: number
  readonly peakActivations: number
}

/** The memory account at one moment: every GPU buffer made and not yet destroyed. Bytes. */
export interface MemorySnapshot {
  readonly live: number
  readonly peak: number
  readonly liveWeights: number
  readonly peakWeights: number
  readonly components: Readonly<Record<string, ComponentMemory>>
}

export type DeviceKind = 'webgpu' | 'wasm'

/** What a device is and can do, for people and for plans. */
export interface DeviceInfo {
  readonly kind: DeviceKind
  /** Vendor and architecture as the adapter tells, or `cpu`. */
  readonly description: string
  readonly isFallbackAdapter: boolean
  readonly shaderF16: boolean
  readonly maxBufferSize: number
}

export interface LoadOptions {
  readonly signal?: AbortSignal | undefined
  /** Bytes of weights in place so far, and in all. */
  readonly onProgress?: ((loaded: number, total: number) => void) | undefined
}

/** A network bound to a device: loads its weights, runs, gives them back. */
export interface Component {
  readonly name: string
  readonly isLoaded: boolean
  load(options?: LoadOptions): Promise<void>
  /** Runs once; loads first where needed. Inputs are the caller's to dispose, outputs too. */
  run(
    inputs: Readonly<Record<string, HostTensor | DeviceTensor>>,
    options?: LoadOptions,
  ): Promise<Record<string, DeviceTensor>>
  /** Destroys the weight buffers; compiled sessions stay. */
  unload(): Promise<void>
  /** Gives back everything. The component cannot be used again. */
  dispose(): Promise<void>
}
