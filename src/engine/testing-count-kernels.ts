/**
 * For tests, in a worker: reports to the page each compute pipeline that a GPU device compiles, and the end of each preparation of kernels. A generation
 * waits for this end instead of stopping the preparation, as if the weights had taken longer to arrive. Not part of the library.
 */

import { KernelPreparation } from '../pipelines/loading/prepare-kernels.js'
import type { CompilationMessage } from './testing-compilation.js'

function report(message: CompilationMessage): void {
  globalThis.postMessage(message)
}

for (const method of ['createComputePipeline', 'createComputePipelineAsync'] as const) {
  const own: unknown = Object.getOwnPropertyDescriptor(GPUDevice.prototype, method)?.value
  if (typeof own !== 'function') throw new TypeError(`There is no method ${method}`)
  Object.defineProperty(GPUDevice.prototype, method, {
    configurable: true,
    value(this: GPUDevice, descriptor: GPUComputePipelineDescriptor): unknown {
      report({ compiled: descriptor.compute.module.label })
      return Reflect.apply(own, this, [descriptor])
    },
  })
}

const reported = new WeakSet<KernelPreparation>()
KernelPreparation.prototype.stop = async function () {
  await this.done()
  if (!reported.has(this)) report({ prepared: true })
  reported.add(this)
}
