/** Opens what graphs run on: the GPU where there is a real one, else the CPU, or what the caller names. */

import { DeviceError, InputError } from '../errors.js'
import type { WeightTable } from '../checkpoint/types.js'
import type { Backend } from './backend.js'
import { requestAdapter } from './gpu-device.js'
import type { Device, OpenDeviceOptions } from './types.js'
import { WasmBackend } from './wasm-backend.js'
import { WasmDevice } from './wasm-device.js'
import { WebGpuBackend } from './webgpu-backend.js'
import { WebGpuDevice } from './webgpu-device.js'

/**
 * Opens a device. `auto` takes the GPU unless its adapter is a software one, which is slower than onnxruntime's CPU kernels.
 * @throws DeviceError `webgpu-not-available` when WebGPU is asked for by name and not there, `runtime-not-loaded`
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  const kind: string = options.kind ?? 'auto'
  if (kind !== 'auto' && kind !== 'webgpu' && kind !== 'wasm')
    throw new InputError('bad-device', `device is ${JSON.stringify(kind)}; it must be 'auto', 'webgpu' or 'wasm'.`, {
      actual: kind,
    })
  if (kind === 'wasm') return WasmDevice.open()
  const adapter = await requestAdapter(options.powerPreference)
  if (kind === 'auto' && (adapter === null || adapter.info.isFallbackAdapter)) return WasmDevice.open()
  if (adapter === null)
    throw new DeviceError('webgpu-not-available', 'This browser offers no WebGPU adapter: choose the device auto or wasm.')
  return WebGpuDevice.open(adapter)
}

/** The side of `device` that a component works with. @throws InputError when the device is not one of ours */
export function createBackend(device: Device, name: string, table: WeightTable): Backend {
  if (device instanceof WebGpuDevice) return new WebGpuBackend(device, name, table)
  if (device instanceof WasmDevice) return new WasmBackend(device, name, table)
  throw new InputError('bad-device', 'The device was not opened by openDevice().')
}
