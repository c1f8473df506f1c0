/**
 * Shared by the kernels that change weights during an upload: a pipeline for each type of values, a method that submits one dispatch, and
 * the buffers that are needed besides the weights.
 */

import type { ElementType } from '../../onnx/types.js'
import type { GpuBuffers } from './gpu-buffers.js'

/** Threads of a workgroup, along the first axis. */
export const workgroupSize = 64

/** A kernel for weights in float16 or float32. */
export class UploadKernel {
  readonly #device: GPUDevice
  readonly #buffers: GpuBuffers
  readonly #label: string
  readonly #textOf: (type: 'f16' | 'f32') => string
  readonly #pipelines = new Map<ElementType, GPUComputePipeline>()

  /** `textOf` returns the kernel's WGSL source for values of a type. */
  constructor(device: GPUDevice, buffers: GpuBuffers, label: string, textOf: (type: 'f16' | 'f32') => string) {
    this.#device = device
    this.#buffers = buffers
    this.#label = label
    this.#textOf = textOf
  }

  /** The kernel for values of a type, compiled at the first call. */
  compile(type: ElementType): GPUComputePipeline {
    const known = this.#pipelines.get(type)
    if (known !== undefined) return known
    const device = this.#device
    const enable = type === 'float16' ? 'enable f16;\n' : ''
    const code = `${enable}${this.#textOf(type === 'float16' ? 'f16' : 'f32')}`
    const shader = device.createShaderModule({ label: this.#label, code })
    const made = device.createComputePipeline({ layout: 'auto', compute: { module: shader, entryPoint: 'main' } })
    this.#pipelines.set(type, made)
    return made
  }

  /** Submits the kernel with these buffers as bindings 0, 1, …, on this many workgroups along each axis. */
  run(type: ElementType, bound: readonly GPUBuffer[], ...groups: readonly [number, number?]): void {
    const device = this.#device
    const pipeline = this.compile(type)
    const entries = bound.map((buffer, binding) => ({ binding, resource: { buffer } }))
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(...groups)
    pass.end()
    this.#buffers.submitUpload(encoder.finish())
  }
}

/** The buffers that one upload needs besides the weights. */
export interface UploadBuffers {
  /** Storage buffers of the requested sizes. */
  readonly storage: readonly GPUBuffer[]
  /** A uniform buffer for up to eight numbers. */
  readonly sizes: GPUBuffer
  readonly destroy: () => void
}

/** @throws DeviceError `out-of-memory`; then all of the buffers are destroyed */
export async function openUploadBuffers(buffers: GpuBuffers, owner: string, bytes: readonly number[]): Promise<UploadBuffers> {
  const asked = bytes.map((one) => buffers.createStaging(owner, one))
  const sizes = buffers.createStaging(owner, 32, true)
  const destroy = () => {
    for (const { buffer } of [...asked, sizes]) buffer.destroy()
  }
  const refusal = (await Promise.all([...asked, sizes].map((one) => one.refusal))).find((error) => error !== undefined)
  if (refusal !== undefined) {
    destroy()
    throw refusal
  }
  return { storage: asked.map(({ buffer }) => buffer), sizes: sizes.buffer, destroy }
}
