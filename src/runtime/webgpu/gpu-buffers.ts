/**
 * Every buffer of one GPUDevice: ours and onnxruntime's. `createBuffer` and `destroy` of this device instance are replaced by ones
 * that keep the memory account, and that recycle storage buffers by exact size: onnxruntime is told to destroy a buffer as soon as it
 * is done with it (`storageBufferCacheMode: 'disabled'`), and here it goes on a shelf, from which the next one of its size is taken
 * and which `trim()` clears. onnxruntime's own caches could only be cleared by releasing every session.
 *
 * The GPU says later whether it had room for a buffer, and what is done with one that it refused is nothing, so each is asked about in an
 * error scope of its own: what the account counts at that moment is how much would have been too much.
 */

import { DeviceError, isAquatintError } from '../../errors.js'
import { outOfMemory } from './gpu-device.js'
import type { LossWatch } from './loss-watch.js'
import type { Allocation, MemoryAccount } from '../memory-account.js'
import type { BufferPool, MemoryPurpose } from '../types.js'
import { storageBytes } from '../../memory/storage-bytes.js'

/** Values of GPUBufferUsage (and of GPUMapMode.READ), spelled out: the constants are not there where there is no GPU. */
const usage = { mapRead: 0x1, copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80, indirect: 0x100 } as const
/** What onnxruntime makes its own with, so that both kinds can serve as each other. */
const tensorUsage = usage.storage | usage.copySrc | usage.copyDst | usage.indirect

interface Shelved {
  readonly buffer: GPUBuffer
  readonly allocation: Allocation
  /** Ends the buffer for good. */
  readonly destroy: () => void
  /** Whether the GPU had no room for it. */
  refused: boolean
}

/** A buffer, to be destroyed in any case, and what the GPU says of it in time: the error where it had no room. */
export interface AskedBuffer {
  readonly buffer: GPUBuffer
  readonly refusal: Promise<DeviceError | undefined>
}

/** Of a buffer that was there already. */
const granted = Promise.resolve(undefined)

export class GpuBuffers implements BufferPool {
  readonly #device: GPUDevice
  readonly #account: MemoryAccount
  readonly #watch: LossWatch
  readonly #create: (descriptor: GPUBufferDescriptor) => GPUBuffer
  /** Storage buffers that nobody holds, by size and usage. */
  readonly #shelves = new Map<string, Shelved[]>()
  /** Whether the shelves are to be cleared when the commands that may use them have been submitted. */
  #trimDue = false
  /** See {@link setLimit}. */
  #limit: number | undefined
  #owner = 'runtime'
  #running = 0
  /** Of buffers for activations that the GPU has not said anything of yet. */
  readonly #asked = new Set<Promise<unknown>>()
  /** The first of those that it refused. */
  #refusal: DeviceError | undefined

  constructor(device: GPUDevice, account: MemoryAccount, watch: LossWatch) {
    this.#device = device
    this.#account = account
    this.#watch = watch
    this.#create = device.createBuffer.bind(device)
    device.createBuffer = (descriptor) => this.#allocate(descriptor, this.#owner, 'activations')
    const submit = device.queue.submit.bind(device.queue)
    device.queue.submit = (commandBuffers) => {
      submit(commandBuffers)
      if (this.#trimDue) this.#clearShelves()
    }
  }

  setLimit(bytes: number | undefined): void {
    this.#limit = bytes
  }

  /** A buffer for weights; destroyed for good by its `destroy()`. */
  createWeights(owner: string, bytes: number): AskedBuffer {
    return this.#make({ label: owner, size: storageBytes(bytes), usage: tensorUsage }, owner, 'weights')
  }

  /** A buffer for a tensor of activations; its `destroy()` puts it on the shelf. */
  createActivations(owner: string, bytes: number): GPUBuffer {
    return this.#allocate({ size: storageBytes(bytes), usage: tensorUsage }, owner, 'activations')
  }

  /** A buffer of shader parameters, a multiple of 16 bytes. */
  createUniforms(owner: string, data: Uint8Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.#allocate({ size: data.byteLength, usage: usage.uniform | usage.copyDst }, owner, 'activations')
    this.#device.queue.writeBuffer(buffer, 0, data)
    return buffer
  }

  /**
   * Writes at a multiple of 4. The queue takes units of 4 bytes; a tensor's last piece may end between them, and its buffer is long
   * enough.
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
   * Waits until the GPU has said of all buffers for activations so far whether it had room. A refusal is told again and again, until
   * {@link reclaim}: the work that missed it may be told of first by an error that came of it. @throws DeviceError `out-of-memory`
   */
  async assertRoom(): Promise<void> {
    await this.#watch.race(Promise.all(this.#asked))
    if (this.#refusal !== undefined) throw this.#refusal
  }

  /** Clears the shelves as {@link trim} does, and forgets what was refused. */
  reclaim(): void {
    this.#refusal = undefined
    this.trim()
  }

  /** Copies a buffer's first `bytes` to the host. @throws DeviceError `device-lost`, `out-of-memory`, `gpu-error` */
  async read(source: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const size = Math.ceil(bytes / 4) * 4
    const staging = this.#allocate({ size, usage: usage.mapRead | usage.copyDst }, 'readback', 'activations')
    try {
      const encoder = this.#device.createCommandEncoder()
      encoder.copyBufferToBuffer(source, 0, staging, 0, size)
      this.#device.queue.submit([encoder.finish()])
      await this.#watch.race(staging.mapAsync(usage.mapRead))
      // What was worked out with a buffer that is not there is not to be read as if it were.
      await this.assertRoom()
      return staging.getMappedRange().slice(0, bytes)
    } catch (cause) {
      await this.assertRoom()
      const reason = await this.#watch.reasonOf(cause)
      if (isAquatintError(reason)) throw reason
      throw new DeviceError('gpu-error', 'A tensor could not be read back from the GPU.', { bytes }, reason)
    } finally {
      staging.destroy()
    }
  }

  /**
   * Counts buffers that onnxruntime makes during `task` for `owner`. Only one task at a time (the caller holds the lock). `expected` is
   * about how many bytes it will make: where they would pass the limit, the shelves are cleared first.
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
      if (this.#running === 0 && this.#trimDue) this.#clearShelves()
    }
  }

  /** Destroys the shelved buffers: at once, or while something runs at its next submit, until when they can still be taken. */
  trim(): void {
    if (this.#running === 0) this.#clearShelves()
    else this.#trimDue = true
  }

  /** A buffer whose refusal {@link assertRoom} tells. */
  #allocate(descriptor: GPUBufferDescriptor, owner: string, purpose: MemoryPurpose): GPUBuffer {
    const { buffer, refusal } = this.#make(descriptor, owner, purpose)
    if (refusal === granted) return buffer
    const note = async () => {
      const error = await refusal
      this.#asked.delete(asked)
      this.#refusal ??= error
    }
    const asked = note()
    this.#asked.add(asked)
    return buffer
  }

  #make(descriptor: GPUBufferDescriptor, owner: string, purpose: MemoryPurpose): AskedBuffer {
    const recyclable =
      purpose === 'activations' && (descriptor.usage & usage.storage) !== 0 && descriptor.mappedAtCreation !== true
    const shelf = `${descriptor.size}/${descriptor.usage}`
    if (recyclable) {
      const shelved = this.#shelves.get(shelf)?.pop()
      if (shelved !== undefined) {
        shelved.allocation.transfer(owner)
        return { buffer: shelved.buffer, refusal: granted }
      }
    }
    if (this.#limit !== undefined && this.#account.live + descriptor.size > this.#limit) this.trim()
    const { buffer, refusal } = this.#ask(descriptor, owner)
    const allocation = this.#account.allocate(owner, purpose, descriptor.size)
    const end = buffer.destroy.bind(buffer)
    const destroy = () => {
      allocation.release()
      end()
    }
    const shelved: Shelved = { buffer, allocation, destroy, refused: false }
    buffer.destroy = recyclable ? () => this.#shelve(shelf, shelved) : destroy
    const told = refusal.then((error) => {
      if (error !== undefined) this.#refuse(shelf, shelved)
      return error
    })
    return { buffer, refusal: told }
  }

  /** Makes a buffer in a scope that is closed at once: scopes are a stack, and a run may be under way in another. */
  #ask(descriptor: GPUBufferDescriptor, owner: string): AskedBuffer {
    const { size } = descriptor
    const live = this.#account.live + size
    const refused = (cause: Error) => outOfMemory({ owner, bytes: size, live }, cause)
    this.#device.pushErrorScope('out-of-memory')
    let buffer: GPUBuffer
    try {
      buffer = this.#create(descriptor)
    } catch (cause) {
      this.#device.popErrorScope().catch(() => {})
      // Memory to write it from is asked of the host, which says no at once.
      if (cause instanceof RangeError) this.#refusal ??= refused(cause)
      throw cause
    }
    const refusal = this.#device.popErrorScope().then(
      (error) => (error === null ? undefined : refused(new Error(error.message))),
      // The device went; whoever uses the buffer is told.
      () => undefined,
    )
    return { buffer, refusal }
  }

  /** A buffer that the GPU had no room for takes none, and serves nobody. */
  #refuse(name: string, shelved: Shelved): void {
    shelved.refused = true
    shelved.allocation.release()
    const shelf = this.#shelves.get(name)
    if (shelf?.includes(shelved) === true) shelf.splice(shelf.indexOf(shelved), 1)
  }

  #shelve(name: string, shelved: Shelved): void {
    if (shelved.refused) return shelved.destroy()
    const shelf = this.#shelves.get(name)
    if (shelf === undefined) this.#shelves.set(name, [shelved])
    else if (!shelf.includes(shelved)) shelf.push(shelved)
  }

  #clearShelves(): void {
    this.#trimDue = false
    for (const shelf of this.#shelves.values()) for (const { destroy } of shelf) destroy()
    this.#shelves.clear()
  }
}
