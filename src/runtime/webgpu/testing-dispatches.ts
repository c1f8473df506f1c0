/** For tests: counts the dispatches of all devices by the label of their kernel. */

import { replaceMethod } from './testing-gpu.js'

/** The counts so far. */
export interface DispatchCount {
  /** Dispatches by kernel; '' stands for kernels that were compiled before. `clear()` starts again. */
  readonly dispatches: Map<string, number>
  /** Ends the counting. */
  readonly end: () => void
}

/** Counts dispatches from now on. */
export function countDispatches(): DispatchCount {
  const dispatches = new Map<string, number>()
  const labels = new WeakMap<GPUComputePipeline, string>()
  const set = new WeakMap<GPUComputePassEncoder, string>()
  const undo = [
    replaceMethod(
      GPUDevice.prototype,
      'createComputePipeline',
      (create) =>
        function (this: GPUDevice, descriptor) {
          const pipeline = create.call(this, descriptor)
          labels.set(pipeline, descriptor.compute.module.label)
          return pipeline
        },
    ),
    replaceMethod(
      GPUDevice.prototype,
      'createComputePipelineAsync',
      (create) =>
        async function (this: GPUDevice, descriptor) {
          const pipeline = await create.call(this, descriptor)
          labels.set(pipeline, descriptor.compute.module.label)
          return pipeline
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
