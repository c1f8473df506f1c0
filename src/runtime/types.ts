/** Tensors in host memory and on a device, the memory account's values, and the options of loads and runs. Only types. */

import type { ElementType } from '../onnx/types.js'

/** A tensor in host memory. `data` holds `product(dims)` elements of `type` (float16 as its bit patterns). */
export interface HostTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  readonly data: Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array
}

/** A tensor on a device or in host memory. The caller of a function that returns one disposes it. */
export interface DeviceTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  /** The values as float32 (float16 is widened), copied to the host. */
  read(): Promise<Float32Array<ArrayBuffer>>
  dispose(): void
}

/** Bytes of one component's buffers on one device. */
export interface ComponentMemory {
  /** Bytes of the component's parameters, at this moment. */
  readonly weights: number
  /** Bytes of the component's buffers other than parameters (activations, inputs and outputs of its runs), at this moment. */
  readonly activations: number
  /** The most that `weights` has been. */
  readonly peakWeights: number
  /** The most that `activations` has been. */
  readonly peakActivations: number
}

/** The memory account at one moment, in bytes. On a GPU it counts every buffer that exists, on the CPU only weights. */
export interface MemorySnapshot {
  /** All buffers, at this moment. */
  readonly live: number
  /** The most that `live` has been. */
  readonly peak: number
  /** Buffers of weights, at this moment. */
  readonly liveWeights: number
  /** The most that `liveWeights` has been. */
  readonly peakWeights: number
  /** The memory of each component, by its name, such as `unet`. */
  readonly components: Readonly<Record<string, ComponentMemory>>
}

/** What memory is counted as: the parameters of a network, or everything else that its runs hold. */
export type MemoryPurpose = 'weights' | 'activations'

/** The live account of one device's memory. */
export interface MemoryMeter {
  snapshot(): MemorySnapshot
  /** Sets all peaks to the current values. */
  resetPeaks(): void
  /**
   * Calls back after changes: soon after the first weights of a component are loaded or its last ones are freed, otherwise at most once in
   * `intervalMs` (default 100). Returns a function that ends the subscription.
   */
  subscribe(listener: (snapshot: MemorySnapshot) => void, intervalMs?: number): () => void
}

/** The freed GPU buffers that a device keeps for reuse. */
export interface BufferPool {
  /** The device empties the pool when a new buffer would bring all its buffers above this many bytes. Undefined: no limit. */
  setLimit(bytes: number | undefined): void
  /** Empties the pool. */
  trim(): void
  /** Empties the pool after an allocation failed, and stops reporting that failure. */
  reclaim(): void
}

/** One summand of `Device.combine`: `scale` times a float32 tensor, read from `offset` on; after its last value, reading continues at its first. */
export interface LinearTerm {
  readonly tensor: DeviceTensor
  readonly scale: number
  /** The first element that is read. Default 0. */
  readonly offset?: number | undefined
}

/** A part of `Device.assemble`: a box of a float32 tensor, and its place in the result. Lists have one number for each axis of the result. */
export interface Piece {
  /** A tensor in host memory is copied to the device first. */
  readonly tensor: DeviceTensor | HostTensor
  /** The position of the box's first element in the result. */
  readonly at: readonly number[]
  /** Where the box begins in the tensor. Default: at its first element. */
  readonly from?: readonly number[] | undefined
  /** The box's extent. Default: from `from` to the end of each axis. */
  readonly size?: readonly number[] | undefined
}

/** Options of loads, and of runs, which load first if needed. */
export interface LoadOptions {
  readonly signal?: AbortSignal | undefined
  /** Receives the bytes of weights that are loaded, 0 at first, and the bytes of all weights. */
  readonly onProgress?: ((loaded: number, total: number) => void) | undefined
}
