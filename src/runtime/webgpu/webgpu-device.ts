/** A device on WebGPU: one GPUDevice of ours with its buffers, its account and its compiled sessions. */

import { DeviceError } from '../../errors.js'
import type { Program, WriteOptions } from '../../onnx/types.js'
import type { RuntimeDevice } from '../backend.js'
import { checkTerms, foreignTerm, copyRuns, foreignPiece } from '../host-math.js'
import { valueBytes } from '../../checkpoint/element-types.js'
import { GpuCombine } from './gpu-combine.js'
import { GpuTally } from './gpu-tally.js'
import type { Tally } from '../health.js'
import { GpuBuffers } from './gpu-buffers.js'
import { describeAdapter, deviceLostError, requestDevice, watched, type Watched } from './gpu-device.js'
import { LossWatch } from './loss-watch.js'
import { MemoryAccount } from '../memory-account.js'
import { explained, loadOnnxRuntime, onnxruntimeLock, type OnnxRuntime, type Session } from '../onnxruntime.js'
import { SessionCache } from '../session-cache.js'
import { checkHostTensor, GpuTensor } from '../tensors.js'
import type { DeviceTensor, HostTensor, LinearTerm, Piece } from '../types.js'
import { elementCount } from '../../util/element-count.js'
import { type DeviceInfo, type DeviceName, computeType } from '../../memory/device-info.js'

/** Who holds onnxruntime, and what for (it completes "while …"). */
export interface DeviceUse {
  readonly owner: string
  readonly doing: string
  /** About how many bytes of buffers it will make. */
  readonly expected?: number
}

export class WebGpuDevice implements RuntimeDevice {
  readonly info: DeviceInfo
  readonly memory: MemoryAccount
  readonly lost: Promise<DeviceError>
  readonly runtime: OnnxRuntime
  readonly gpu: GPUDevice
  readonly buffers: GpuBuffers
  readonly sessions: SessionCache
  readonly #combine: GpuCombine
  readonly #tally: GpuTally
  readonly #watch = new LossWatch()
  #end: DeviceError | undefined

  private constructor(info: DeviceInfo, runtime: OnnxRuntime, gpu: GPUDevice, total: MemoryAccount | undefined) {
    this.info = info
    this.memory = new MemoryAccount(total)
    this.runtime = runtime
    this.gpu = gpu
    this.buffers = new GpuBuffers(gpu, this.memory, this.#watch)
    this.#combine = new GpuCombine(gpu, this.buffers)
    this.#tally = new GpuTally(gpu, this.buffers)
    this.sessions = new SessionCache(
      (program, user) => this.#createSession(program, user),
      async (session) => {
        await this.exclusively({ owner: 'runtime', doing: 'releasing a session' }, () => session.release())
      },
    )
    this.lost = new Promise((resolve) => {
      const end = (reason: GPUDeviceLostInfo): void => {
        const disposed = this.#end !== undefined
        this.#end ??= deviceLostError(reason)
        this.sessions.abandon()
        this.memory.releaseAll()
        this.#watch.end(this.#end)
        if (!disposed) resolve(this.#end)
      }
      void gpu.lost.then(end)
    })
  }

  /** `total` counts its memory too. @throws DeviceError `device-not-available`, `runtime-not-loaded` */
  static async open(adapter: GPUAdapter, name: DeviceName = 'webgpu', total?: MemoryAccount): Promise<WebGpuDevice> {
    const info = describeAdapter(adapter, name)
    const runtime = await loadOnnxRuntime('webgpu')
    return new WebGpuDevice(info, runtime, await requestDevice(adapter), total)
  }

  writeOptions(wanted: Pick<WriteOptions, 'dtype' | 'granularity'>): WriteOptions {
    return { dtype: computeType(wanted.dtype, this.info), weights: 'input', granularity: wanted.granularity }
  }

  /** @throws DeviceError `device-lost`, `device-disposed` */
  assertUsable(): void {
    if (this.#end !== undefined) throw this.#end
  }

  combine(terms: readonly LinearTerm[], dims: readonly number[], owner: string, bound?: number): GpuTensor {
    this.assertUsable()
    checkTerms(terms, bound)
    const parts = terms.map(({ tensor, scale, offset = 0 }) => {
      return { buffer: this.#bufferOf(tensor), length: elementCount(tensor.dims), scale, offset }
    })
    return new GpuTensor(this.buffers, this.#combine.run(parts, elementCount(dims), owner, bound), 'float32', dims)
  }

  async tally(tensor: DeviceTensor, owner: string): Promise<Tally> {
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
    // It may come from a shelf, with another tensor's values.
    encoder.clearBuffer(buffer)
    for (const { tensor, runs } of copies) {
      const from = bufferOf(tensor)
      for (const { source, target, count } of runs) encoder.copyBufferToBuffer(from, 4 * source, buffer, 4 * target, 4 * count)
    }
    this.gpu.queue.submit([encoder.finish()])
    for (const copy of uploaded) copy.dispose()
    return new GpuTensor(this.buffers, buffer, 'float32', dims)
  }

  limitMemory(bytes: number | undefined): void {
    this.buffers.limit = bytes
  }

  trim(): void {
    this.buffers.trim()
  }

  reclaim(): void {
    this.buffers.reclaim()
  }

  upload(tensor: HostTensor, owner: string): GpuTensor {
    this.assertUsable()
    checkHostTensor(tensor, 'A tensor to upload')
    const bytes = valueBytes(tensor.type, tensor.dims)
    const buffer = this.buffers.createActivations(owner, bytes)
    const { buffer: memory, byteOffset, byteLength } = tensor.data
    // The queue takes no shared memory.
    const view =
      memory instanceof ArrayBuffer ? new Uint8Array(memory, byteOffset, byteLength) : new Uint8Array(tensor.data.slice().buffer)
    this.buffers.write(buffer, 0, view)
    return new GpuTensor(this.buffers, buffer, tensor.type, tensor.dims)
  }

  /**
   * Runs `task` holding onnxruntime, with its buffers, about `expected` bytes, counted for `owner`. A device that is lost meanwhile ends the
   * wait, and soon the hold too: onnxruntime may not return from a call on it.
   * @throws DeviceError `device-lost`, `out-of-memory`, `gpu-error`, AbortError, what `task` throws
   */
  async exclusively<T>(use: DeviceUse, task: () => Promise<T>, signal?: AbortSignal): Promise<Watched<T>> {
    this.assertUsable()
    const work = onnxruntimeLock.run(async () => {
      this.assertUsable()
      const done = this.buffers.runAs(use.owner, use.expected ?? 0, () =>
        watched(this.gpu, use.doing, () => explained(use.doing, task)),
      )
      return this.#watch.outlast(done)
    }, signal)
    return this.orLost(work, signal)
  }

  /** Settles as `work` does, or rejects when the device is lost first. What failed because of a loss rejects with that; `signal`: the caller's. */
  async orLost<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await this.#watch.race(work)
    } catch (error) {
      throw await this.reasonOf(error, signal)
    }
  }

  /** What a failure came of: see {@link LossWatch.reasonOf}. */
  async reasonOf(failure: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.#watch.reasonOf(failure, signal)
  }

  async dispose(): Promise<void> {
    if (this.#end === undefined) await this.sessions.clear()
    this.#end ??= new DeviceError('device-disposed', 'The device was used after it was disposed.')
    this.buffers.trim()
    this.gpu.destroy()
    this.memory.releaseAll()
  }

  async #createSession(program: Program, user: string): Promise<Session> {
    const { value, verified } = await this.exclusively({ owner: user, doing: `compiling a part of ${user}` }, () =>
      this.runtime.InferenceSession.create(program.model, {
        // Its buffers go to our shelves, its errors to our scopes.
        executionProviders: [
          { name: 'webgpu', device: this.gpu, storageBufferCacheMode: 'disabled', validationMode: 'wgpuOnly' },
        ],
        preferredOutputLocation: 'gpu-buffer',
        logSeverityLevel: 3,
      }),
    )
    await verified
    return value
  }
}
