/** Which type a device computes in. */

import type { DeviceInfo } from './types.js'

/** float16 only where the device's shaders have it; onnxruntime's CPU kernels compute in float32 anyway. */
export function computeType(wanted: 'float32' | 'float16', info: Pick<DeviceInfo, 'kind' | 'shaderF16'>): 'float32' | 'float16' {
  return info.kind === 'webgpu' && info.shaderF16 ? wanted : 'float32'
}
