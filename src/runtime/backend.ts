/**
 * What a component needs of a device: weights put where its stages find them, stages run. One implementation for each kind of device
 * (webgpu-backend.ts, wasm-backend.ts). Only types.
 */

import type { ComponentGraph, Stage } from '../onnx/types.js'
import type { GpuBuffers } from './webgpu/gpu-buffers.js'
import type { MemoryAccount } from './memory-account.js'
import type { GpuTensor } from './tensors.js'
import type { Device, DeviceTensor, HostTensor, LoadOptions } from './types.js'

/** What a stage takes: a tensor in host memory or one in a buffer of the device itself. */
export type StageInput = HostTensor | GpuTensor

/** One component's side of a device. */
export interface Backend {
  /** The device's GPU buffers, of which a tensor must be to be bound as it is; undefined on the CPU. */
  readonly buffers: GpuBuffers | undefined
  /** Whether weights are there. */
  readonly isLoaded: boolean
  /**
   * Puts the weights of `graph` in place. Where that fails, those of the graph before are there as they were, or none are. With a budget in bytes a GPU keeps what it can and streams the rest with each
   * run; the CPU knows no budget.
   */
  load(graph: ComponentGraph, budget: number | undefined, options: LoadOptions): Promise<void>
  /** Runs one stage whose inputs have the types and dims that its program says. Outputs are new tensors, by the program's names. */
  runStage(
    stage: Stage,
    inputs: Readonly<Record<string, StageInput>>,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, DeviceTensor>>
  /** Waits until the device has taken the stages run so far. @throws DeviceError that one of them caused */
  verify(): Promise<void>
  /** Gives the weights back. */
  unload(): Promise<void>
  /** Gives back everything, sessions that nobody else uses included. */
  dispose(): Promise<void>
}

/** A device as the rest of runtime/ sees it. */
export interface RuntimeDevice extends Device {
  readonly memory: MemoryAccount
}
