/** The device without a GPU: onnxruntime's CPU kernels in WebAssembly. Its account counts the weights that sessions contain. */

import { DeviceError } from '../../errors.js'
import type { WriteOptions } from '../../onnx/types.js'
import type { WeightTable } from '../../checkpoint/types.js'
import type { Device } from '../device.js'
import { WasmBackend } from './wasm-backend.js'
import { checkTerms, combineOnHost, foreignTerm, copyRuns, foreignPiece } from '../host-math.js'
import { MemoryAccount } from '../memory-account.js'
import { loadOnnxRuntime, type OnnxRuntime } from '../onnxruntime.js'
import { tallyValues, type ValueTally } from '../health.js'
import { checkHostTensor, CpuTensor } from '../tensors.js'
import type { DeviceTensor, HostTensor, LinearTerm, Piece } from '../types.js'
import { elementCount } from '../../util/element-count.js'
import { capabilitiesOf, computeType, type DeviceInfo, ownKernels } from '../../memory/device-info.js'

/** The CPU as a device. Its sessions contain the weights, and its tensors are in host memory. */
export class WasmDevice implements Device {
  readonly info: DeviceInfo = {
    name: 'wasm',
    kind: 'wasm',
    description: 'cpu',
    isFallbackAdapter: false,
    shaderF16: false,
    // The heap of a 32-bit WebAssembly module.
    maxBufferSize: 2 ** 32,
    kernels: ownKernels,
    capabilities: capabilitiesOf.wasm,
  }
  readonly memory: MemoryAccount
  readonly buffers = undefined
  /** The CPU is never lost. */
  readonly lost = new Promise<never>(() => {})
  readonly runtime: OnnxRuntime
  #disposed = false

  private constructor(runtime: OnnxRuntime, total: MemoryAccount | undefined) {
    this.runtime = runtime
    this.memory = new MemoryAccount(total)
  }

  /** `total`: an account that counts this device's memory too. @throws DeviceError `runtime-not-loaded` */
  static async open(total?: MemoryAccount): Promise<WasmDevice> {
    return new WasmDevice(await loadOnnxRuntime('wasm'), total)
  }

  writeOptions(wanted: Pick<WriteOptions, 'dtype' | 'granularity'>): WriteOptions {
    return {
      dtype: computeType(wanted.dtype, this.info),
      weights: this.info.capabilities.weightsAs,
      granularity: wanted.granularity,
      sumsInParts: true,
    }
  }

  async prepare(): Promise<void> {}

  async endPreparation(): Promise<void> {}

  createBackend(name: string, table: WeightTable): WasmBackend {
    return new WasmBackend(this, name, table)
  }

  /** @throws DeviceError `device-disposed` */
  assertUsable(): void {
    if (this.#disposed) throw new DeviceError('device-disposed', 'The device was used after it was disposed.')
  }

  combine(terms: readonly LinearTerm[], dims: readonly number[], _owner?: string, bound?: number): CpuTensor {
    this.assertUsable()
    checkTerms(terms, bound)
    const parts = terms.map(({ tensor, scale, offset = 0 }) => ({ data: floatsOf(tensor), scale, offset }))
    return new CpuTensor({ type: 'float32', dims, data: combineOnHost(parts, elementCount(dims), bound) })
  }

  async tally(tensor: DeviceTensor): Promise<ValueTally> {
    this.assertUsable()
    checkTerms([{ tensor, scale: 1 }])
    return tallyValues(floatsOf(tensor))
  }

  holds(tensor: DeviceTensor): boolean {
    return tensor instanceof CpuTensor
  }

  assemble(pieces: readonly Piece[], dims: readonly number[]): CpuTensor {
    this.assertUsable()
    const data = new Float32Array(elementCount(dims))
    for (const piece of pieces) {
      const { tensor } = piece
      const runs = copyRuns(piece, dims)
      const own = 'data' in tensor ? tensor : tensor instanceof CpuTensor ? tensor.host : undefined
      if (!(own?.data instanceof Float32Array)) throw foreignPiece()
      for (const { source, target, count } of runs) data.set(own.data.subarray(source, source + count), target)
    }
    return new CpuTensor({ type: 'float32', dims, data })
  }

  upload(tensor: HostTensor): CpuTensor {
    this.assertUsable()
    checkHostTensor(tensor, 'A tensor to upload')
    return new CpuTensor({ type: tensor.type, dims: tensor.dims, data: tensor.data.slice() })
  }

  async dispose(): Promise<void> {
    this.#disposed = true
  }
}

/** @throws InputError `bad-terms` for a tensor of another device, or one that is not float32 */
function floatsOf(tensor: DeviceTensor): Float32Array {
  if (!(tensor instanceof CpuTensor) || !(tensor.host.data instanceof Float32Array)) throw foreignTerm()
  return tensor.host.data
}
