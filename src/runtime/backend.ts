/**
 * The interface between a bound network and its device: the device loads weights and runs stages. One implementation for each kind of device
 * (webgpu/webgpu-backend.ts, wasm/wasm-backend.ts). Only types.
 */

import type { ComponentGraph, Stage } from '../onnx/types.js'
import type { WeightPlan } from '../memory/plan.js'
import type { GpuBuffers } from './webgpu/gpu-buffers.js'
import type { GpuTensor } from './tensors.js'
import type { DeviceTensor, HostTensor, LoadOptions } from './types.js'

/** An input of a stage: a tensor in host memory, or one in a buffer of the device itself. */
export type StageInput = HostTensor | GpuTensor

/** The device's side of one bound network. */
export interface Backend {
  /** The device's GPU buffers: a tensor in one of them is bound without a copy. Undefined on the CPU. */
  readonly buffers: GpuBuffers | undefined
  /** Whether the device holds weights of the network. */
  readonly isLoaded: boolean
  /**
   * Loads the weights of `graph`. If the load fails, the previous graph's weights are unchanged, or none are left. A device that streams
   * weights keeps the weights that `plan` names, and uploads the other weights in each run. The CPU ignores the plan.
   */
  load(graph: ComponentGraph, plan: WeightPlan | undefined, options: LoadOptions): Promise<void>
  /** Runs one stage on inputs of the types and dims that its program names. Outputs are new tensors, by the program's names. */
  runStage(
    stage: Stage,
    inputs: Readonly<Record<string, StageInput>>,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, DeviceTensor>>
  /** Waits until the device has accepted the stages that ran since the last call. @throws the DeviceError that one of them caused */
  verify(): Promise<void>
  /** Frees the weights. */
  unload(): Promise<void>
  /** Frees everything, including sessions that no other network uses. */
  dispose(): Promise<void>
}
