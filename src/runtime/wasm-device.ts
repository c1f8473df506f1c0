/** The device without a GPU: onnxruntime's CPU kernels in WebAssembly. Its account counts the weights that sessions hold. */

import { DeviceError } from '../errors.js'
import type { WriteOptions } from '../onnx/types.js'
import type { RuntimeDevice } from './backend.js'
import { checkTerms, combineOnHost, foreignTerm } from './combine.js'
import { computeType } from './compute-type.js'
import { elementCount } from './convert.js'
import { MemoryAccount } from './memory-account.js'
import { loadOnnxRuntime, type OnnxRuntime } from './onnxruntime.js'
import { checkHostTensor, CpuTensor, toFloat32 } from './tensors.js'
import type { DeviceInfo, HostTensor, LinearTerm } from './types.js'

export class WasmDevice implements RuntimeDevice {
  readonly info: DeviceInfo = {
    kind: 'wasm',
    description: 'cpu',
    isFallbackAdapter: false,
    shaderF16: false,
    // The heap of a 32-bit WebAssembly module.
    maxBufferSize: 2 ** 32,
  }
  readonly memory = new MemoryAccount()
  /** The CPU does not go away. */
  readonly lost = new Promise<never>(() => {})
  readonly runtime: OnnxRuntime
  #disposed = false

  private constructor(runtime: OnnxRuntime) {
    this.runtime = runtime
  }

  /** @throws DeviceError `runtime-not-loaded` */
  static async open(): Promise<WasmDevice> {
    return new WasmDevice(await loadOnnxRuntime('wasm'))
  }

  writeOptions(wanted: Pick<WriteOptions, 'dtype' | 'granularity'>): WriteOptions {
    return { dtype: computeType(wanted.dtype, this.info), weights: 'initializer', granularity: wanted.granularity }
  }

  /** @throws DeviceError `device-disposed` */
  assertUsable(): void {
    if (this.#disposed) throw new DeviceError('device-disposed', 'The device was used after it was disposed.')
  }

  combine(terms: readonly LinearTerm[], dims: readonly number[]): CpuTensor {
    this.assertUsable()
    checkTerms(terms)
    const parts = terms.map(({ tensor, scale, offset = 0 }) => {
      if (!(tensor instanceof CpuTensor)) throw foreignTerm()
      return { data: toFloat32(tensor.host), scale, offset }
    })
    return new CpuTensor({ type: 'float32', dims, data: combineOnHost(parts, elementCount(dims)) })
  }

  limitMemory(): void {}

  upload(tensor: HostTensor): CpuTensor {
    this.assertUsable()
    checkHostTensor(tensor, 'A tensor to upload')
    return new CpuTensor({ type: tensor.type, dims: tensor.dims, data: tensor.data.slice() })
  }

  async dispose(): Promise<void> {
    this.#disposed = true
  }
}
