/**
 * Keeps the scale and shift of each channel of InstanceNormalization in float32 where the values are float16. Between its kernels
 * ComputeChannelScaleShift and InstanceNorm, onnxruntime stores scales and shifts in a float16 buffer. A shift is −mean divided by the
 * standard deviation: if this quotient is 30, rounding it to float16 costs up to 8e-3 in each value. Both kernels are changed
 * (normalizations.ts). This file gives them a buffer of twice the size in place of onnxruntime's. onnxruntime dispatches the two kernels
 * in direct succession, but a pass may end between them. The norms of a run use one buffer in turn; if it is too small for a norm, a larger
 * one is made. If a kernel reads onnxruntime's own buffer, the run fails (omitted-results.ts).
 */

import type { CompiledKernel, Dispatch } from './dispatch.js'

/**
 * The GPUBufferUsage of a storage buffer. onnxruntime's buffers have more usages, so the pool (gpu-buffers.ts) never reuses a buffer of one
 * kind as the other.
 */
const storageUsage = 0x80

function writesStatistics({ label, code }: CompiledKernel): boolean {
  return label === 'ComputeChannelScaleShift' && /\bx: array<(?:vec\d<)?f16>/.test(code)
}

function readsStatistics({ label, code }: CompiledKernel): boolean {
  const isIn16 = /\binput: array<(?:vec\d<)?f16>/.test(code)
  return label === 'InstanceNorm' && isIn16 && code.includes('channel_scale_shift: array<vec2<f32>>;')
}

/** The statistics of one device. */
export class NormStatistics {
  readonly #gpu: GPUDevice
  /** The buffers of this run. There is more than one if a later norm needed a larger one. */
  #buffers: GPUBuffer[] = []
  /** Where the statistics that were computed last are: the buffer in which onnxruntime expects them, and the actual one. */
  #last: { readonly expected: GPUBuffer; readonly actual: GPUBuffer } | undefined

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu
  }

  /** The dispatch to record: the same one, or one that writes or reads statistics in float32. */
  resolve(dispatch: Dispatch): Dispatch {
    const { kernel, storage } = dispatch
    if (writesStatistics(kernel)) {
      const expected = storage.at(-1)?.buffer
      if (expected === undefined) return dispatch
      const actual = this.#bufferOf(2 * expected.size)
      this.#last = { expected, actual }
      return { ...dispatch, storage: [...storage.slice(0, -1), { buffer: actual }], omitted: [expected] }
    }
    if (readsStatistics(kernel) && this.#last !== undefined) {
      const { expected, actual } = this.#last
      return { ...dispatch, storage: storage.map((one) => (one.buffer === expected ? { buffer: actual } : one)) }
    }
    return dispatch
  }

  /** Called when a run of onnxruntime has ended, and its commands are submitted: destroys the buffers of the run. */
  endRun(): void {
    for (const buffer of this.#buffers) buffer.destroy()
    this.#buffers = []
    this.#last = undefined
  }

  #bufferOf(size: number): GPUBuffer {
    const known = this.#buffers.find((buffer) => buffer.size >= size)
    if (known !== undefined) return known
    const buffer = this.#gpu.createBuffer({ label: 'norm statistics', size, usage: storageUsage })
    this.#buffers.push(buffer)
    return buffer
  }
}
