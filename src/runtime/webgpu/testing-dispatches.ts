/** For tests: counts the dispatches of all devices by the label of their kernel. */

import { replaceMethod } from './testing-gpu.js'

/** The counts so far. */
export interface DispatchCount {
  /** Dispatches by kernel; the key '' counts kernels that were compiled before counting began. `dispatches.clear()` resets the counts. */
  readonly dispatches: Map<string, number>
  /** Stops counting. */
  readonly end: () => void
}

/** Counts dispatches from now on. */
export function countDispatches(): DispatchCount {
  const dispatches = new Map<string, number>()
  const labels = new WeakMap<GPUComputePipeline, string>()
  const set = new WeakMap<GPUComputePassEncoder, string>()
  const remember = (pipeline: GPUComputePipeline, { compute }: GPUComputePipelineDescriptor) => {
    labels.set(pipeline, compute.module.label)
    return pipeline
  }
  const undo = [
    replaceMethod(
      GPUDevice.prototype,
      'createComputePipeline',
      (create) =>
        function (this: GPUDevice, descriptor) {
          return remember(create.call(this, descriptor), descriptor)
        },
    ),
    replaceMethod(
      GPUDevice.prototype,
      'createComputePipelineAsync',
      (create) =>
        async function (this: GPUDevice, descriptor) {
          return remember(await create.call(this, descriptor), descriptor)
        },
    ),
    replaceMethod(
      GPUComputePassEncoder.prototype,
      'setPipeline',
      (call) =>
        function (this: GPUComputePassEncoder, pipeline) {
          set.set(this, labels.get(pipeline) ?? '')
          return call.call(this, pipeline)
        },
    ),
    replaceMethod(
      GPUComputePassEncoder.prototype,
      'dispatchWorkgroups',
      (call) =>
        function (this: GPUComputePassEncoder, ...grid) {
          const label = set.get(this) ?? ''
          dispatches.set(label, (dispatches.get(label) ?? 0) + 1)
          return call.apply(this, grid)
        },
    ),
  ]
  return {
    dispatches,
    end: () => {
      for (const one of undo) one()
    },
  }
}
