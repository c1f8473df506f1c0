/** The interface of a device on which graphs run, as pipelines use it. Only types. */

import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import type { WeightTable } from '../checkpoint/types.js'
import type { Backend } from './backend.js'
import type { ValueTally } from './health.js'
import type { DeviceInfo } from '../memory/device-info.js'
import type { BufferPool, HostTensor, DeviceTensor, MemoryMeter, LinearTerm, Piece } from './types.js'

/** A device that graphs run on: one GPUDevice that belongs to this library, or the CPU. */
export interface Device {
  readonly info: DeviceInfo
  readonly memory: MemoryMeter
  /** The freed buffers that the device keeps for reuse; undefined on the CPU, which keeps none. */
  readonly buffers: BufferPool | undefined
  /** Settles with the reason when the GPU goes away on its own; never after `dispose()`. */
  readonly lost: Promise<Error>
  /** How graphs for this device are written: float16 becomes float32 if the device cannot compute in float16. */
  writeOptions(wanted: { readonly dtype: 'float32' | 'float16'; readonly granularity: 'component' | 'block' }): WriteOptions
  /** The device's side of one bound network. `name`: in the memory account and in messages. */
  createBackend(name: string, table: WeightTable): Backend
  /** Copies a host tensor to the device; its bytes count as activations of `owner`. */
  upload(tensor: HostTensor, owner: string): DeviceTensor
  /** Whether a tensor is on this device, so that it can be an argument of {@link combine} and {@link assemble}. */
  holds(tensor: DeviceTensor): boolean
  /**
   * Makes a float32 tensor of zeros of shape `dims` and copies the pieces into it, one after the other. Joins, pads, repeats and cuts tensors
   * without reading them back.
   * @throws InputError `bad-pieces`; DeviceError
   */
  assemble(pieces: readonly Piece[], dims: readonly number[], owner: string): DeviceTensor
  /**
   * Makes a float32 tensor of shape `dims`: element i is the sum over the terms (1 to 7) of `scale · tensor[(offset + i) mod length]`.
   * Guidance, a scheduler's step and the doubling of latents for guidance have this form, so they stay on the device. `bound`: the elements
   * are clamped to [-bound, bound].
   * @throws InputError `bad-terms`; DeviceError
   */
  combine(terms: readonly LinearTerm[], dims: readonly number[], owner: string, bound?: number): DeviceTensor
  /**
   * Counts the zeros and the non-finite values of a float32 tensor, as it is after all work that was submitted before the call. The device
   * submits the count at once, without waiting for that work. The promise resolves when both are done.
   * @throws InputError `bad-terms`; DeviceError
   */
  tally(tensor: DeviceTensor, owner: string): Promise<ValueTally>
  /**
   * Compiles the kernels that runs of these graphs need, before their weights have arrived, within `maxBytes` bytes of buffers. Does nothing on a device whose sessions contain weights.
   * @throws DeviceError, AbortError
   */
  prepare(graphs: readonly ComponentGraph[], options: PrepareOptions): Promise<void>
  /** Releases the sessions that {@link prepare} made and no network uses. */
  endPreparation(): Promise<void>
  /** Ends all use of the device. On a GPU it destroys the GPUDevice and everything on it. */
  dispose(): Promise<void>
}

/** Options of {@link Device.prepare}. */
export interface PrepareOptions {
  /** The preparation's name in the memory account and in messages. */
  readonly owner: string
  /** The most bytes of buffers on the device while it compiles. */
  readonly maxBytes: number
  readonly signal: AbortSignal
}
