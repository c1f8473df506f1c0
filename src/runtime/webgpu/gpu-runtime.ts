/**
 * One GPUDevice with onnxruntime on it: its buffers, its memory account and its compiled sessions. It ends running calls when the device is
 * lost. It does not depend on networks.
 */

import { DeviceError } from '../../errors.js'
import type { DeviceInfo } from '../../memory/device-info.js'
import type { Program } from '../../onnx/types.js'
import { MemoryAccount } from '../memory-account.js'
import { explained, onnxruntimeLock, type OnnxRuntime, type Session } from '../onnxruntime.js'
import { SessionCache } from '../session-cache.js'
import { ChannelsLastUpload } from './channels-last-upload.js'
import { GpuBuffers } from './gpu-buffers.js'
import { deviceLostError, watched, type Watched } from './gpu-device.js'
import { endRun } from './kernels/dispatch-stream.js'
import { LoraUpload } from './lora-upload.js'
import { LossWatch } from './loss-watch.js'

/** Who uses onnxruntime, and for what: `owner` is a name in the memory account, `doing` completes "while …". */
export interface DeviceUse {
  readonly owner: string
  readonly doing: string
  /** An estimate of the bytes of buffers that the task makes. */
  readonly expected?: number
}

export class GpuRuntime {
  readonly info: DeviceInfo
  readonly memory: MemoryAccount
  /** Settles with the reason when the GPU goes away on its own; never after `dispose()`. */
  readonly lost: Promise<DeviceError>
  readonly runtime: OnnxRuntime
  readonly gpu: GPUDevice
  readonly buffers: GpuBuffers
  readonly channelsLast: ChannelsLastUpload
  readonly loras: LoraUpload
  readonly sessions: SessionCache
  readonly #watch = new LossWatch()
  /** Why the device cannot be used any more. */
  #end: DeviceError | undefined

  /** `total`: an account that counts this device's memory too. */
  constructor(info: DeviceInfo, runtime: OnnxRuntime, gpu: GPUDevice, total: MemoryAccount | undefined) {
    this.info = info
    this.memory = new MemoryAccount(total)
    this.runtime = runtime
    this.gpu = gpu
    this.buffers = new GpuBuffers(gpu, this.memory, this.#watch)
    this.channelsLast = new ChannelsLastUpload(gpu, this.buffers)
    this.loras = new LoraUpload(gpu, this.buffers)
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

  /** @throws DeviceError `device-lost`, `device-disposed` */
  assertUsable(): void {
    if (this.#end !== undefined) throw this.#end
  }

  /**
   * Runs `task` with the lock on onnxruntime. The task's buffers, about `expected` bytes, are counted for `owner`. If the device is lost meanwhile, the
   * wait ends and, soon after, the lock is released: onnxruntime may never return from a call on a lost device.
   * @throws DeviceError `device-lost`, `out-of-memory`, `gpu-error`, AbortError, what `task` throws
   */
  async exclusively<T>(use: DeviceUse, task: () => Promise<T>, signal?: AbortSignal): Promise<Watched<T>> {
    this.assertUsable()
    const work = onnxruntimeLock.run(async () => {
      this.assertUsable()
      const done = this.buffers.runAs(use.owner, use.expected ?? 0, () =>
        watched(this.gpu, use.doing, () => explained(use.doing, () => this.#checked(task))),
      )
      return this.#watch.outlast(done)
    }, signal)
    return this.orLost(work, signal)
  }

  /** Runs `task`. @throws Error if a command of it read wrong values, see {@link ChannelsLastWeights.endRun} */
  async #checked<T>(task: () => Promise<T>): Promise<T> {
    try {
      const result = await task()
      const error = endRun(this.gpu)
      if (error !== undefined) throw error
      return result
    } catch (error) {
      endRun(this.gpu)
      throw error
    }
  }

  /**
   * Settles as `work` does, or rejects with the loss if the device is lost first or a loss made `work` fail. If `signal` is aborted, does
   * not wait for the report of a loss.
   */
  async orLost<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await this.#watch.race(work)
    } catch (error) {
      throw await this.reasonOf(error, signal)
    }
  }

  /** The cause of a failure: see {@link LossWatch.reasonOf}. */
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
        // GpuBuffers reuses onnxruntime's buffers, and our error scopes collect its errors.
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
