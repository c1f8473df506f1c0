/**
 * Every buffer of one GPUDevice: this library's and onnxruntime's. `createBuffer` of the device, and `destroy` of each of its buffers, are
 * replaced by functions that keep the memory account and reuse storage buffers of the same size and usage. onnxruntime is configured to
 * destroy a buffer as soon as it no longer needs it (`storageBufferCacheMode: 'disabled'`); the buffer then goes into a pool here, the next
 * buffer of its kind is taken from the pool, and `trim()` empties the pool. onnxruntime's own caches could only be emptied by releasing
 * every session.
 *
 * WebGPU reports only later that there was no memory for a buffer, and ignores commands that use such a buffer. So each buffer is made in an
 * error scope of its own. If that scope reports an error, the GPU has less memory than the bytes that the account counted when the buffer was made.
 */

import { DeviceError, isAquatintError } from '../../errors.js'
import { awaitGpu } from './await-gpu.js'
import { outOfMemory } from './gpu-device.js'
import type { LossWatch } from './loss-watch.js'
import type { Allocation, MemoryAccount } from '../memory-account.js'
import type { BufferPool, MemoryPurpose } from '../types.js'
import { storageBytes } from '../../memory/storage-bytes.js'

/** Values of GPUBufferUsage and GPUMapMode.READ: the constants do not exist in browsers without WebGPU. */
const usage = { mapRead: 0x1, copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80, indirect: 0x100 } as const
/** The usage of onnxruntime's own buffers, so that the pool can reuse them as this library's, and the reverse. */
const tensorUsage = usage.storage | usage.copySrc | usage.copyDst | usage.indirect

interface PooledBuffer {
  readonly buffer: GPUBuffer
  readonly allocation: Allocation
  /** Destroys the buffer instead of keeping it for reuse. */
  readonly destroy: () => void
  /** Whether the GPU had no memory for the buffer. */
  refused: boolean
}

/** A buffer, which has to be destroyed in any case, and a promise of the error if the GPU had no memory for it. */
export interface RequestedBuffer {
  readonly buffer: GPUBuffer
  readonly refusal: Promise<DeviceError | undefined>
}

/** A reused buffer is never refused. */
const granted = Promise.resolve(undefined)

/** All buffers of one GPUDevice. There is one for each device, since it replaces methods of the device. */
export class GpuBuffers implements BufferPool {
  readonly #device: GPUDevice
  readonly #account: MemoryAccount
  readonly #watch: LossWatch
  readonly #create: (descriptor: GPUBufferDescriptor) => GPUBuffer
  /** The queue's own `submit`, which does not empty the pool. */
  readonly #submit: (commandBuffers: Iterable<GPUCommandBuffer>) => void
  /** Unused storage buffers, by size and usage. */
  readonly #pool = new Map<string, PooledBuffer[]>()
  /** Whether to empty the pool once the commands that may use its buffers have been submitted. */
  #trimDue = false
  /** See {@link setLimit}. */
  #limit: number | undefined
  #owner = 'runtime'
  #running = 0
  /** Buffers for activations that the GPU has neither accepted nor refused yet. */
  readonly #pending = new Set<Promise<unknown>>()
  /** The error of the first buffer that the GPU refused. */
  #refusal: DeviceError | undefined

  constructor(device: GPUDevice, account: MemoryAccount, watch: LossWatch) {
    this.#device = device
    this.#account = account
    this.#watch = watch
    this.#create = device.createBuffer.bind(device)
    device.createBuffer = (descriptor) => this.#allocate(descriptor, this.#owner, 'activations')
    this.#submit = device.queue.submit.bind(device.queue)
    device.queue.submit = (commandBuffers) => {
      this.#submit(commandBuffers)
      if (this.#trimDue) this.#clearPool()
    }
  }

  setLimit(bytes: number | undefined): void {
    this.#limit = bytes
  }

  /** A buffer for weights; its `destroy()` destroys it. */
  createWeights(owner: string, bytes: number): RequestedBuffer {
    return this.#make({ label: owner, size: storageBytes(bytes), usage: tensorUsage }, owner, 'weights')
  }

  /** A buffer for a tensor of activations; its `destroy()` puts it into the pool. */
  createActivations(owner: string, bytes: number): GPUBuffer {
    return this.#allocate({ size: storageBytes(bytes), usage: tensorUsage }, owner, 'activations')
  }

  /** A buffer that an upload writes and a kernel reads: uniform if `isUniform`, else storage. Its `destroy()` destroys it. */
  createStaging(owner: string, bytes: number, isUniform = false): RequestedBuffer {
    const access = isUniform ? usage.uniform : usage.storage
    return this.#make({ size: storageBytes(bytes), usage: access | usage.copyDst }, owner, 'activations', false)
  }

  /** A buffer of shader parameters, a multiple of 16 bytes. */
  createUniforms(owner: string, data: Uint8Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.#allocate({ size: data.byteLength, usage: usage.uniform | usage.copyDst }, owner, 'activations')
    this.#device.queue.writeBuffer(buffer, 0, data)
    return buffer
  }

  /**
   * Writes at an offset that is a multiple of 4. The queue writes units of 4 bytes, so zeros are added if the last unit is not full; the
   * buffer must have space for them.
   */
  write(buffer: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
    const { queue } = this.#device
    const whole = bytes.byteLength - (bytes.byteLength % 4)
    if (whole > 0) queue.writeBuffer(buffer, offset, bytes, 0, whole)
    if (whole === bytes.byteLength) return
    const rest = new Uint8Array(4)
    rest.set(bytes.subarray(whole))
    queue.writeBuffer(buffer, offset + whole, rest)
  }

  /**
   * Waits until the GPU has accepted or refused all buffers for activations so far. After a refusal every call throws, until {@link reclaim}:
   * work that was queued already may fail later for the same reason. @throws DeviceError `out-of-memory`
   */
  async assertAllocated(): Promise<void> {
    await this.#watch.race(Promise.all(this.#pending))
    if (this.#refusal !== undefined) throw this.#refusal
  }

  /** Empties the pool as {@link trim} does, and stops reporting a refusal. */
  reclaim(): void {
    this.#refusal = undefined
    this.trim()
  }

  /** Submits commands of an upload. A run at the same time may have recorded commands that use buffers of the pool, so the pool is not emptied. */
  submitUpload(commands: GPUCommandBuffer): void {
    this.#submit([commands])
  }

  /** Resolves when the GPU has done all that was submitted. */
  async submittedWorkDone(): Promise<void> {
    await awaitGpu(this.#device.queue.onSubmittedWorkDone(), () => this.#submit([]))
  }

  /** Copies a buffer's first `bytes` to the host. @throws DeviceError `device-lost`, `out-of-memory`, `gpu-error` */
  async read(source: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const size = Math.ceil(bytes / 4) * 4
    const staging = this.#allocate({ size, usage: usage.mapRead | usage.copyDst }, 'readback', 'activations')
    try {
      const encoder = this.#device.createCommandEncoder()
      encoder.copyBufferToBuffer(source, 0, staging, 0, size)
      this.#device.queue.submit([encoder.finish()])
      await this.#watch.race(awaitGpu(staging.mapAsync(usage.mapRead), () => this.#submit([])))
      // Values computed with a refused buffer must not be returned.
      await this.assertAllocated()
      return staging.getMappedRange().slice(0, bytes)
    } catch (cause) {
      await this.assertAllocated()
      const reason = await this.#watch.reasonOf(cause)
      if (isAquatintError(reason)) throw reason
      throw new DeviceError('gpu-error', 'A tensor could not be read back from the GPU.', { bytes }, reason)
    } finally {
      staging.destroy()
    }
  }

  /**
   * Runs `task`, and counts for `owner` the buffers that onnxruntime makes meanwhile. Only one task at a time: the caller holds the lock.
   * `expected`: an estimate of the bytes of these buffers; if they would exceed the limit, the pool is emptied first.
   */
  async runAs<T>(owner: string, expected: number, task: () => Promise<T>): Promise<T> {
    if (this.#limit !== undefined && this.#account.live + expected > this.#limit) this.trim()
    const before = this.#owner
    this.#owner = owner
    this.#running++
    try {
      return await task()
    } finally {
      this.#owner = before
      this.#running--
      if (this.#running === 0 && this.#trimDue) this.#clearPool()
    }
  }

  /** Destroys the pool's buffers: at once, or, during a run, at its next submit or its end. Until then they can be reused. */
  trim(): void {
    if (this.#running === 0) this.#clearPool()
    else this.#trimDue = true
  }

  /** A buffer whose refusal {@link assertAllocated} reports. */
  #allocate(descriptor: GPUBufferDescriptor, owner: string, purpose: MemoryPurpose): GPUBuffer {
    const { buffer, refusal } = this.#make(descriptor, owner, purpose)
    if (refusal === granted) return buffer
    const note = async () => {
      const error = await refusal
      this.#pending.delete(pending)
      this.#refusal ??= error
    }
    const pending = note()
    this.#pending.add(pending)
    return buffer
  }

  #make(
    descriptor: GPUBufferDescriptor,
    owner: string,
    purpose: MemoryPurpose,
    recyclable = purpose === 'activations' && (descriptor.usage & usage.storage) !== 0 && descriptor.mappedAtCreation !== true,
  ): RequestedBuffer {
    const kind = `${descriptor.size}/${descriptor.usage}`
    if (recyclable) {
      const pooled = this.#pool.get(kind)?.pop()
      if (pooled !== undefined) {
        pooled.allocation.transfer(owner)
        return { buffer: pooled.buffer, refusal: granted }
      }
    }
    if (this.#limit !== undefined && this.#account.live + descriptor.size > this.#limit) this.trim()
    const { buffer, refusal } = this.#request(descriptor, owner)
    const allocation = this.#account.allocate(owner, purpose, descriptor.size)
    const end = buffer.destroy.bind(buffer)
    const destroy = () => {
      allocation.release()
      end()
    }
    const pooled: PooledBuffer = { buffer, allocation, destroy, refused: false }
    buffer.destroy = recyclable ? () => this.#putBack(kind, pooled) : destroy
    const handled = refusal.then((error) => {
      if (error !== undefined) this.#refuse(kind, pooled)
      return error
    })
    return { buffer, refusal: handled }
  }

  /** Makes a buffer in an error scope that is closed at once: scopes are a stack, and a run may have opened another. */
  #request(descriptor: GPUBufferDescriptor, owner: string): RequestedBuffer {
    const { size } = descriptor
    const live = this.#account.live + size
    const refused = (cause: Error) => outOfMemory({ owner, bytes: size, live }, cause)
    this.#device.pushErrorScope('out-of-memory')
    let buffer: GPUBuffer
    try {
      buffer = this.#create(descriptor)
    } catch (cause) {
      this.#device.popErrorScope().catch(() => {})
      // A buffer that is mapped at creation is in host memory. If the host has too little memory, createBuffer throws at once.
      if (cause instanceof RangeError) this.#refusal ??= refused(cause)
      throw cause
    }
    const refusal = this.#device.popErrorScope().then(
      (error) => (error === null ? undefined : refused(new Error(error.message))),
      // The device was lost: code that uses the buffer gets that error.
      () => undefined,
    )
    return { buffer, refusal }
  }

  /** A buffer that the GPU had no memory for is neither counted nor reused. */
  #refuse(kind: string, pooled: PooledBuffer): void {
    pooled.refused = true
    pooled.allocation.release()
    const buffers = this.#pool.get(kind)
    if (buffers?.includes(pooled) === true) buffers.splice(buffers.indexOf(pooled), 1)
  }

  #putBack(kind: string, pooled: PooledBuffer): void {
    if (pooled.refused) return pooled.destroy()
    const buffers = this.#pool.get(kind)
    if (buffers === undefined) this.#pool.set(kind, [pooled])
    else if (!buffers.includes(pooled)) buffers.push(pooled)
  }

  #clearPool(): void {
    this.#trimDue = false
    for (const buffers of this.#pool.values()) for (const { destroy } of buffers) destroy()
    this.#pool.clear()
  }
}
