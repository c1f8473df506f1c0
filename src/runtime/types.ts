/** What the runtime offers to pipelines: devices, tensors that may live on a GPU, components, and the account of memory. Only types. */

import type { WeightTable } from '../checkpoint/types.js'
import type { ComponentGraph, ElementType, WriteOptions, Shapes } from '../onnx/types.js'
import type { Tally } from './health.js'
import type { DeviceInfo } from '../memory/device-info.js'

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
  /** Of its parameters, now. */
  readonly weights: number
  /** Of all else that its runs hold, now. */
  readonly activations: number
  /** The most that `weights` has been. */
  readonly peakWeights: number
  /** The most that `activations` has been. */
  readonly peakActivations: number
}

/** The memory account at one moment: every GPU buffer made and not yet destroyed. Bytes. */
export interface MemorySnapshot {
  /** All buffers, now. */
  readonly live: number
  /** The most that `live` has been. */
  readonly peak: number
  /** Buffers of weights, now. */
  readonly liveWeights: number
  /** The most that `liveWeights` has been. */
  readonly peakWeights: number
  /** By component, such as `unet`. */
  readonly components: Readonly<Record<string, ComponentMemory>>
}

/** What is counted as what: the parameters of a network, or everything else that its runs hold. */
export type MemoryPurpose = 'weights' | 'activations'

/** The live account of one device's memory. */
export interface MemoryMeter {
  snapshot(): MemorySnapshot
  /** Peaks start again from what is live now. */
  resetPeaks(): void
  /**
   * Calls back after changes: soon after a component's first weights came or its last ones went, else at most once in `intervalMs`
   * (default 100). Returns what ends it.
   */
  subscribe(listener: (snapshot: MemorySnapshot) => void, intervalMs?: number): () => void
}

/** One summand of {@link Device.combine}: `scale` times a float32 tensor, read from `offset` on and from its beginning again at its end. */
export interface LinearTerm {
  readonly tensor: DeviceTensor
  readonly scale: number
  /** In elements. */
  readonly offset?: number | undefined
}

/** A part of {@link Device.assemble}: a box of a float32 tensor, and its place. Lists have a number for each axis, as many as the result has. */
export interface Piece {
  /** One in host memory is copied to the device on the way. */
  readonly tensor: DeviceTensor | HostTensor
  /** Where the box's first element goes. */
  readonly at: readonly number[]
  /** Where the box begins in the tensor; at its first element unless said. */
  readonly from?: readonly number[] | undefined
  /** The box's extent; all that there is from `from` on unless said. */
  readonly size?: readonly number[] | undefined
}

/** Something that graphs run on. One stands for one GPUDevice of our own, or for the CPU. */
export interface Device {
  readonly info: DeviceInfo
  readonly memory: MemoryMeter
  /** Settles when the GPU goes away on its own, with the reason; never after `dispose()`. */
  readonly lost: Promise<Error>
  /** How graphs for this device are to be written: float16 becomes float32 where the device cannot compute in it. */
  writeOptions(wanted: { readonly dtype: 'float32' | 'float16'; readonly granularity: 'component' | 'block' }): WriteOptions
  /**
   * A budget in bytes: above it the device gives back what it keeps for reuse before it makes anything. Undefined: no budget. Whether
   * a pipeline fits is for its plan to see to. The CPU knows none.
   */
  limitMemory(bytes: number | undefined): void
  /** Gives back what the device keeps for reuse. */
  trim(): void
  /** After the device had no room for something: {@link trim}, and what comes is told of no refusal before. */
  reclaim(): void
  /** Copies a host tensor to the device; its bytes count as activations of `owner`. */
  upload(tensor: HostTensor, owner: string): DeviceTensor
  /** Whether a tensor lives here, and so can be worked on. */
  holds(tensor: DeviceTensor): boolean
  /**
   * A new float32 tensor of zeros of shape `dims` with the pieces copied into it, one after the other: what joins, pads, repeats and cuts
   * tensors on the device.
   * @throws InputError `bad-pieces`; DeviceError
   */
  assemble(pieces: readonly Piece[], dims: readonly number[], owner: string): DeviceTensor
  /**
   * A new float32 tensor of shape `dims`: element i is the sum over the terms (1 to 7) of `scale · tensor[(offset + i) mod length]`.
   * Guidance, a scheduler's step and the doubling of latents for guidance are of this form and stay on the device with it.
   * With `bound` no further from 0 than that.
   * @throws InputError `bad-terms`; DeviceError
   */
  combine(terms: readonly LinearTerm[], dims: readonly number[], owner: string, bound?: number): DeviceTensor
  /**
   * Counts the broken values of a float32 tensor as the work given to the device so far leaves it, without waiting for that work. It
   * resolves when the work is done.
   * @throws InputError `bad-terms`; DeviceError
   */
  tally(tensor: DeviceTensor, owner: string): Promise<Tally>
  /** Destroys the GPUDevice and with it everything on it. */
  dispose(): Promise<void>
}

/** What a component is made of. */
export interface ComponentOptions {
  /** Name in the memory account and in messages, such as `unet`. */
  readonly name: string
  readonly device: Device
  readonly table: WeightTable
  /** The graph for given input shapes on a device; called once for each set of shapes and variant, again after a move to another kind. */
  readonly graph: (shapes: Shapes, device: Device, variant: string | undefined) => ComponentGraph
  /**
   * Bytes of GPU buffers that the weights may take at once. When they need more, blocks stream through with each run: the graph must
   * have granularity `block`. Undefined: all stay while the component is loaded.
   */
  readonly weightBudget?: number | undefined
  /** Input shapes that `load()` assumes before the first run: they tell which weights there are. */
  readonly shapes: Shapes
}

export interface LoadOptions {
  readonly signal?: AbortSignal | undefined
  /** Bytes of weights in place so far, and in all: 0 when it begins. */
  readonly onProgress?: ((loaded: number, total: number) => void) | undefined
}

export interface RunOptions extends LoadOptions {
  /** Which of the component's graphs for the inputs' shapes: its name, which `graph` is given. */
  readonly variant?: string | undefined
}

/** A network bound to a device: loads its weights, runs, gives them back. */
export interface Component {
  readonly name: string
  /** Whether the device holds weights of it. */
  readonly isLoaded: boolean
  /** See {@link ComponentOptions.weightBudget}. */
  readonly weightBudget: number | undefined
  load(options?: LoadOptions): Promise<void>
  /** Runs once; loads first where needed. Inputs are the caller's to dispose, outputs too. */
  run(inputs: Readonly<Record<string, HostTensor | DeviceTensor>>, options?: RunOptions): Promise<Record<string, DeviceTensor>>
  /** Unloads, and loads next time within `bytes`: see {@link ComponentOptions.weightBudget}. */
  setWeightBudget(bytes: number | undefined): Promise<void>
  /** Unloads what the old device had, if it still lives, and loads next time on `device`: after a loss, or to move. */
  moveTo(device: Device): Promise<void>
  /** Destroys the weight buffers; compiled sessions stay. */
  unload(): Promise<void>
  /** Gives back everything. The component cannot be used again. */
  dispose(): Promise<void>
}
