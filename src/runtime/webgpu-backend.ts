/** A component's weights in GPU buffers of our own, and its stages run with them bound as inputs of shared sessions. */

import type { WeightTable } from '../checkpoint/types.js'
import { DeviceError } from '../errors.js'
import type { ComponentGraph, ElementType, Stage } from '../onnx/types.js'
import { throwIfAborted } from '../util/abort.js'
import type { Backend, StageInput } from './backend.js'
import { valueBytes } from './convert.js'
import { gpuError } from './gpu-device.js'
import type { GpuBuffers } from './gpu-buffers.js'
import type { OrtTensor } from './onnxruntime.js'
import { GpuTensor } from './tensors.js'
import type { DeviceTensor, LoadOptions } from './types.js'
import type { WebGpuDevice } from './webgpu-device.js'
import { weightKey, weightsOf, type WeightKey } from './weights-of.js'
import { streamWeights } from './weight-stream.js'

/** Bytes written to the queue before it is waited for: the copies that the browser holds are bounded by it. */
const queuedBytes = 64 * 2 ** 20

export class WebGpuBackend implements Backend {
  readonly buffers: GpuBuffers
  readonly #device: WebGpuDevice
  readonly #name: string
  readonly #table: WeightTable
  readonly #weights = new Map<string, GPUBuffer>()

  constructor(device: WebGpuDevice, name: string, table: WeightTable) {
    this.buffers = device.buffers
    this.#device = device
    this.#name = name
    this.#table = table
  }

  async load(graph: ComponentGraph, { signal, onProgress }: LoadOptions): Promise<void> {
    const wanted = [...weightsOf(graph.stages, this.#table).values()].filter(({ key }) => !this.#weights.has(key))
    if (wanted.length === 0) return
    const made = new Map<string, GPUBuffer>()
    try {
      await this.#device.orLost(this.#upload(wanted, made, signal, onProgress))
    } catch (error) {
      for (const buffer of made.values()) buffer.destroy()
      throw error
    }
    for (const [key, buffer] of made) this.#weights.set(key, buffer)
  }

  async #upload(
    wanted: readonly WeightKey[],
    made: Map<string, GPUBuffer>,
    signal: AbortSignal | undefined,
    onProgress: LoadOptions['onProgress'],
  ): Promise<void> {
    const { gpu, buffers } = this.#device
    this.#device.assertUsable()
    throwIfAborted(signal)
    const total = wanted.reduce((sum, { bytes }) => sum + bytes, 0)
    const doing = `loading the weights of ${this.#name}`
    for (const { bytes, entry } of wanted) checkBufferSize(entry.name, bytes, this.#device.info.maxBufferSize)
    const failures = wanted.map(({ key, bytes }) => {
      // Closed at once: scopes are a stack, and a run may be under way in another.
      gpu.pushErrorScope('out-of-memory')
      made.set(key, buffers.createWeights(this.#name, bytes))
      return gpu.popErrorScope()
    })
    for (const error of await Promise.all(failures)) if (error !== null) throw gpuError(error, doing)
    throwIfAborted(signal)
    let loaded = 0
    let queued = 0
    await streamWeights(
      wanted,
      async ({ wanted: { key }, byteOffset, bytes }) => {
        const buffer = made.get(key)
        if (buffer === undefined) return
        writeBytes(gpu.queue, buffer, byteOffset, bytes)
        loaded += bytes.byteLength
        queued += bytes.byteLength
        if (queued >= queuedBytes) {
          queued = 0
          await gpu.queue.onSubmittedWorkDone()
        }
        onProgress?.(loaded, total)
      },
      signal,
    )
    await gpu.queue.onSubmittedWorkDone()
    this.#device.assertUsable()
  }

  async runStage(
    stage: Stage,
    inputs: Readonly<Record<string, StageInput>>,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, DeviceTensor>> {
    const { program } = stage
    const { runtime, buffers, sessions } = this.#device
    const session = await sessions.get(program, this, this.#name)
    const bound = (buffer: GPUBuffer, dataType: ElementType, dims: readonly number[]) =>
      runtime.Tensor.fromGpuBuffer(buffer, { dataType, dims })
    const outputs: Record<string, GpuTensor> = {}
    try {
      await this.#device.exclusively(
        this.#name,
        `running ${this.#name} (${stage.name})`,
        async () => {
          const feeds: Record<string, OrtTensor> = {}
          for (const { name, type, dims } of program.inputs) {
            const tensor = inputs[name]
            if (tensor instanceof GpuTensor) feeds[name] = bound(tensor.buffer, type, dims)
            else if (tensor !== undefined) feeds[name] = new runtime.Tensor(type, tensor.data, dims)
          }
          for (const { name, type, dims } of program.weights) {
            const buffer = this.#weights.get(weightKey(stage.weights[name] ?? name, type))
            if (buffer !== undefined) feeds[name] = bound(buffer, type, dims)
          }
          const fetches: Record<string, OrtTensor> = {}
          for (const { name, type, dims } of program.outputs) {
            const tensor = new GpuTensor(buffers, buffers.createActivations(this.#name, valueBytes(type, dims)), type, dims)
            outputs[name] = tensor
            fetches[name] = bound(tensor.buffer, type, dims)
          }
          await session.run(feeds, fetches)
        },
        signal,
      )
    } catch (error) {
      for (const tensor of Object.values(outputs)) tensor.dispose()
      throw error
    }
    return outputs
  }

  async unload(): Promise<void> {
    for (const buffer of this.#weights.values()) buffer.destroy()
    this.#weights.clear()
    this.#device.buffers.trim()
  }

  async dispose(): Promise<void> {
    await this.unload()
    await this.#device.sessions.leave(this)
    this.#device.buffers.trim()
  }
}

/** Writes go in units of 4 bytes; only a tensor's last piece may end between them, and its buffer is long enough. */
function writeBytes(queue: GPUQueue, buffer: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>): void {
  const whole = bytes.byteLength - (bytes.byteLength % 4)
  if (whole > 0) queue.writeBuffer(buffer, offset, bytes, 0, whole)
  if (whole === bytes.byteLength) return
  const rest = new Uint8Array(4)
  rest.set(bytes.subarray(whole))
  queue.writeBuffer(buffer, offset + whole, rest)
}

function checkBufferSize(tensor: string, bytes: number, allowed: number): void {
  if (bytes <= allowed) return
  const message = `Tensor ${tensor} takes ${bytes} bytes; a buffer of this GPU holds ${allowed}.`
  throw new DeviceError('buffer-too-large', message, { tensor, bytes, allowed })
}
