/** Which devices there are, and what a device can do: the facts that plans are made from. Pure. */

/** `webgpu`: a GPU, or a software adapter. `wasm`: the processor. */
export type DeviceKind = 'webgpu' | 'wasm'

/** A device by name: the GPU that the browser prefers, the CPU, and a second GPU beside the first. */
export type DeviceName = DeviceKind | 'webgpu:1'

/** What a device is and can do, for people and for plans. */
export interface DeviceInfo {
  /** Which one it is. */
  readonly name: DeviceName
  /** What it is. */
  readonly kind: DeviceKind
  /** Vendor and architecture as the adapter tells, or `cpu`. */
  readonly description: string
  /** Whether the adapter is a software one. */
  readonly isFallbackAdapter: boolean
  /** Whether it computes in float16. */
  readonly shaderF16: boolean
  /** Bytes of the largest buffer it allows. */
  readonly maxBufferSize: number
}

/** float16 only where the device's shaders have it; onnxruntime's CPU kernels compute in float32 anyway. */
export function computeType(wanted: 'float32' | 'float16', info: Pick<DeviceInfo, 'kind' | 'shaderF16'>): 'float32' | 'float16' {
  return info.kind === 'webgpu' && info.shaderF16 ? wanted : 'float32'
}
