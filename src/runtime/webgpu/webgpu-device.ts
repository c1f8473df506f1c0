/** The WebGPU device: a {@link GpuRuntime} with the operations on tensors that pipelines need besides the networks. */

import type { ComponentGraph, WriteOptions } from '../../onnx/types.js'
import type { WeightTable } from '../../checkpoint/types.js'
import type { Device, PrepareOptions } from '../device.js'
import { WebGpuBackend } from './webgpu-backend.js'
import { checkTerms, foreignTerm, copyRuns, foreignPiece } from '../host-math.js'
import { valueBytes } from '../../checkpoint/element-types.js'
import { GpuCombine } from './gpu-combine.js'
import { GpuTally } from './gpu-tally.js'
import type { ValueTally } from '../health.js'
import { describeAdapter, requestDevice } from './gpu-device.js'
import { GpuRuntime } from './gpu-runtime.js'
import { prepareKernels } from './prepare-kernels.js'
import { installKernels } from './kernels/kernel-layer.js'
import { epsilonScale } from './kernels/variances.js'
import type { MemoryAccount } from '../memory-account.js'
import { loadOnnxRuntime, type OnnxRuntime } from '../onnxruntime.js'
import { checkHostTensor, GpuTensor } from '../tensors.js'
import type { DeviceTensor, HostTensor, LinearTerm, Piece } from '../types.js'
import { elementCount } from '../../util/element-count.js'
import { type DeviceInfo, type DeviceName, type KernelSource, computeType, fusesGeglu } from '../../memory/device-info.js'

/** How a device is opened. */
interface Opening {
  readonly name?: DeviceName
  /** An account that counts this device's memory too. */
  readonly total?: MemoryAccount | undefined
  readonly kernels?: KernelSource | undefined
}

/** The properties of the device's adapter. */
interface Adapted {
  readonly total: MemoryAccount | undefined
  readonly architecture: string
}

/**
 * Intel's GPUs on which onnxruntime computes convolutions in float16 with a different kernel, which reads weights in the checkpoint's
 * order.
 */
const convolvesByColumns = /^xe-[23]/

export class WebGpuDevice extends GpuRuntime implements Device {
  readonly #combine: GpuCombine
  readonly #tally: GpuTally
  /** The user, in the session cache, of the sessions that {@link prepare} created and no network uses yet. */
  readonly #preparation = {}
  readonly #channelsLastWeights: boolean

  private constructor(info: DeviceInfo, runtime: OnnxRuntime, gpu: GPUDevice, { total, architecture }: Adapted) {
    super(info, runtime, gpu, total)
    this.#channelsLastWeights = info.kernels.source === 'aquatint' && !convolvesByColumns.test(architecture)
    this.#combine = new GpuCombine(gpu, this.buffers)
    this.#tally = new GpuTally(gpu, this.buffers)
  }

  /** Opens the device of an adapter. @throws DeviceError `device-not-available`, `runtime-not-loaded` */
  static async open(adapter: GPUAdapter, { name = 'webgpu', total, kernels = 'aquatint' }: Opening = {}): Promise<WebGpuDevice> {
    const described = describeAdapter(adapter, name)
    const runtime = await loadOnnxRuntime('webgpu')
    const gpu = await requestDevice(adapter)
    const { architecture } = adapter.info
    return new WebGpuDevice({ ...described, kernels: installKernels(gpu, kernels) }, runtime, gpu, { total, architecture })
  }

  writeOptions(wanted: Pick<WriteOptions, 'dtype' | 'granularity'>): WriteOptions {
    const dtype = computeType(wanted.dtype, this.info)
    return {
      dtype,
      weights: this.info.capabilities.weightsAs,
      granularity: wanted.granularity,
      fusesGeglu: fusesGeglu(dtype, this.info),
      channelsLastWeights: this.#channelsLastWeights,
      headSizesOf: 4,
      epsilonInBias: this.info.kernels.source === 'aquatint' ? epsilonScale : undefined,
    }
  }

  async prepare(graphs: readonly ComponentGraph[], { owner, maxBytes, signal }: PrepareOptions): Promise<void> {
    this.#combine.compile()
    this.#tally.compile()
    const programs = graphs.flatMap(({ stages }) => stages.map(({ program }) => program))
    for (const { type, channelsLast } of programs.flatMap(({ weights }) => weights))
      if (channelsLast === true) this.channelsLast.compile(type)
    await prepareKernels(this, { programs, owner, user: this.#preparation, maxBytes, signal })
  }

  async endPreparation(): Promise<void> {
    await this.sessions.leave(this.#preparation)
  }

  createBackend(name: string, table: WeightTable): WebGpuBackend {
    return new WebGpuBackend(this, name, table)
  }

  combine(terms: readonly LinearTerm[], dims: readonly number[], owner: string, bound?: number): GpuTensor {
    this.assertUsable()
    checkTerms(terms, bound)
    const parts = terms.map(({ tensor, scale, offset = 0 }) => {
      return { buffer: this.#bufferOf(tensor), length: elementCount(tensor.dims), scale, offset }
    })
    return new GpuTensor(this.buffers, this.#combine.run(parts, elementCount(dims), owner, bound), 'float32', dims)
  }

  async tally(tensor: DeviceTensor, owner: string): Promise<ValueTally> {
    this.assertUsable()
    checkTerms([{ tensor, scale: 1 }])
    return this.#tally.run(this.#bufferOf(tensor), elementCount(tensor.dims), owner)
  }

  #bufferOf(tensor: DeviceTensor): GPUBuffer {
    if (!this.holds(tensor)) throw foreignTerm()
    return tensor.buffer
  }

  holds(tensor: DeviceTensor): tensor is GpuTensor {
    return tensor instanceof GpuTensor && tensor.buffers === this.buffers
  }

  assemble(pieces: readonly Piece[], dims: readonly number[], owner: string): GpuTensor {
    this.assertUsable()
    const copies = pieces.map((piece) => ({ tensor: piece.tensor, runs: copyRuns(piece, dims) }))
    for (const { tensor } of copies) if (!('data' in tensor) && !this.holds(tensor)) throw foreignPiece()
    const buffer = this.buffers.createActivations(owner, valueBytes('float32', dims))
    const uploaded: GpuTensor[] = []
    const bufferOf = (tensor: DeviceTensor | HostTensor): GPUBuffer => {
      if (!('data' in tensor)) return this.#bufferOf(tensor)
      const copy = this.upload(tensor, owner)
      uploaded.push(copy)
      return copy.buffer
    }
    const encoder = this.gpu.createCommandEncoder()
    // The buffer may come from a pool and contain another tensor's values.
    encoder.clearBuffer(buffer)
    for (const { tensor, runs } of copies) {
      const from = bufferOf(tensor)
      for (const { source, target, count } of runs) encoder.copyBufferToBuffer(from, 4 * source, buffer, 4 * target, 4 * count)
    }
    this.gpu.queue.submit([encoder.finish()])
    for (const copy of uploaded) copy.dispose()
    return new GpuTensor(this.buffers, buffer, 'float32', dims)
  }

  upload(tensor: HostTensor, owner: string): GpuTensor {
    this.assertUsable()
    checkHostTensor(tensor, 'A tensor to upload')
    const bytes = valueBytes(tensor.type, tensor.dims)
    const buffer = this.buffers.createActivations(owner, bytes)
    const { buffer: memory, byteOffset, byteLength } = tensor.data
    // Data in a SharedArrayBuffer is copied first, because `buffers.write` takes an ArrayBuffer.
    const view =
      memory instanceof ArrayBuffer ? new Uint8Array(memory, byteOffset, byteLength) : new Uint8Array(tensor.data.slice().buffer)
    this.buffers.write(buffer, 0, view)
    return new GpuTensor(this.buffers, buffer, tensor.type, tensor.dims)
  }
}
