/**
 * The two kinds of DeviceTensor: in a GPU buffer, and in host memory (on the wasm device, and on the way between devices). Values are read as
 * float32 whatever type they are stored in.
 */

import { DeviceError } from '../errors.js'
import type { ElementType } from '../onnx/types.js'
import { float16ToFloat32, float32ToFloat16 } from '../util/half.js'
import { valueBytes } from '../checkpoint/element-types.js'
import type { GpuBuffers } from './webgpu/gpu-buffers.js'
import type { DeviceTensor, HostTensor } from './types.js'
import { elementCount } from '../util/element-count.js'

const arrayTypes = {
  float32: Float32Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/** A tensor of bytes that were read back. */
export function hostTensor(type: ElementType, dims: readonly number[], bytes: ArrayBuffer): HostTensor {
  return { type, dims, data: new arrayTypes[type](bytes, 0, elementCount(dims)) }
}

/** @throws DeviceError `bad-tensor` if the data does not match the type and dims */
export function checkHostTensor(tensor: HostTensor, what: string): void {
  const count = elementCount(tensor.dims)
  if (tensor.data.length === count && tensor.data instanceof arrayTypes[tensor.type]) return
  throw new DeviceError(
    'bad-tensor',
    `${what} is declared as ${tensor.type}[${tensor.dims.join(', ')}] but holds ${tensor.data.length} elements in a ${tensor.data.constructor.name}.`,
    { what, type: tensor.type, dims: tensor.dims, length: tensor.data.length },
  )
}

/** A float32 copy of the values. */
export function float32Of(tensor: HostTensor): Float32Array<ArrayBuffer> {
  const { data } = tensor
  if (data instanceof Uint16Array) return float16ToFloat32(data)
  return data instanceof BigInt64Array ? Float32Array.from(data, Number) : Float32Array.from(data)
}

/** The tensor converted to `type`, if one is float32 and the other float16; otherwise the tensor itself. */
export function castHost(tensor: HostTensor, type: ElementType): HostTensor {
  if (tensor.type === 'float32' && type === 'float16' && tensor.data instanceof Float32Array)
    return { type, dims: tensor.dims, data: float32ToFloat16(tensor.data) }
  if (tensor.type === 'float16' && type === 'float32') return { type, dims: tensor.dims, data: float32Of(tensor) }
  return tensor
}

/** A tensor in host memory. */
export class CpuTensor implements DeviceTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  #tensor: HostTensor | undefined

  constructor(tensor: HostTensor) {
    this.type = tensor.type
    this.dims = tensor.dims
    this.#tensor = tensor
  }

  /** The tensor itself, not a copy. @throws DeviceError `tensor-disposed` */
  get host(): HostTensor {
    if (this.#tensor === undefined) throw disposedError(this)
    return this.#tensor
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return float32Of(this.host)
  }

  dispose(): void {
    this.#tensor = undefined
  }
}

/** A tensor in a GPU buffer that it owns. */
export class GpuTensor implements DeviceTensor {
  readonly type: ElementType
  readonly dims: readonly number[]
  /** The buffers of the tensor's device. */
  readonly buffers: GpuBuffers
  #buffer: GPUBuffer | undefined

  constructor(buffers: GpuBuffers, buffer: GPUBuffer, type: ElementType, dims: readonly number[]) {
    this.buffers = buffers
    this.#buffer = buffer
    this.type = type
    this.dims = dims
  }

  /** @throws DeviceError `tensor-disposed` */
  get buffer(): GPUBuffer {
    if (this.#buffer === undefined) throw disposedError(this)
    return this.#buffer
  }

  /** Copies the tensor to host memory and keeps its element type. @throws DeviceError */
  async download(): Promise<HostTensor> {
    const bytes = await this.buffers.read(this.buffer, valueBytes(this.type, this.dims))
    return hostTensor(this.type, this.dims, bytes)
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return float32Of(await this.download())
  }

  dispose(): void {
    this.#buffer?.destroy()
    this.#buffer = undefined
  }
}

function disposedError(tensor: DeviceTensor): DeviceError {
  const name = `${tensor.type}[${tensor.dims.join(', ')}]`
  return new DeviceError('tensor-disposed', `A tensor ${name} was used after it was disposed.`, {
    type: tensor.type,
    dims: tensor.dims,
  })
}
