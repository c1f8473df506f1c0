/** Opens the device that graphs run on: a real GPU if there is one, otherwise the CPU; or the device that the caller names. */

import { DeviceError, InputError } from '../errors.js'
import { requestAdapter, requestSecondAdapter } from './webgpu/gpu-device.js'
import type { MemoryAccount } from './memory-account.js'
import { WasmDevice } from './wasm/wasm-device.js'
import { WebGpuDevice } from './webgpu/webgpu-device.js'
import type { DeviceName, KernelSource } from '../memory/device-info.js'
import type { Device } from './device.js'

/** Options of {@link openDevice}. */
export interface OpenDeviceOptions {
  /** `auto` (default): a real GPU if there is one, otherwise wasm. */
  readonly kind?: DeviceName | 'auto' | undefined
  /** An account of several devices, which counts this device's memory too. */
  readonly total?: MemoryAccount | undefined
  /** Which float16 kernels a GPU runs. Default `aquatint`. */
  readonly kernels?: KernelSource | undefined
}

const kinds: readonly string[] = ['auto', 'webgpu', 'webgpu:1', 'wasm'] satisfies (DeviceName | 'auto')[]

/** @throws InputError `bad-device` for a value that names no device */
export function checkDeviceKind(kind: unknown): void {
  if (kind === undefined || kinds.includes(kind as string)) return
  const given = (JSON.stringify(kind) ?? typeof kind).slice(0, 100)
  throw new InputError('bad-device', `device is ${given}; it must be 'auto', 'webgpu', 'webgpu:1' or 'wasm'.`, { actual: given })
}

/** @throws InputError `bad-kernels` for another value than those of KernelSource */
export function checkKernels(kernels: unknown): void {
  if (kernels === undefined || kernels === 'aquatint' || kernels === 'onnxruntime') return
  const given = (JSON.stringify(kernels) ?? typeof kernels).slice(0, 100)
  throw new InputError('bad-kernels', `kernels is ${given}; it must be 'aquatint' or 'onnxruntime'.`, { actual: given })
}

/**
 * Opens a device. `auto` takes the GPU unless its adapter is a software one, which is slower than onnxruntime's CPU kernels.
 * @throws InputError `bad-device`, `bad-kernels`; DeviceError `webgpu-not-available` if the caller names WebGPU and the browser has none,
 * `no-second-adapter`, `runtime-not-loaded`
 */
export async function openDevice({ kind = 'auto', total, kernels }: OpenDeviceOptions = {}): Promise<Device> {
  checkDeviceKind(kind)
  checkKernels(kernels)
  if (kind === 'wasm') return WasmDevice.open(total)
  if (kind === 'webgpu:1') return openSecond({ total, kernels })
  const adapter = await requestAdapter()
  if (kind === 'auto' && !isReal(adapter)) return WasmDevice.open(total)
  if (adapter === null)
    throw new DeviceError('webgpu-not-available', 'This browser offers no WebGPU adapter: choose the device auto or wasm.')
  return WebGpuDevice.open(adapter, { total, kernels })
}

async function openSecond(options: Omit<OpenDeviceOptions, 'kind'>): Promise<Device> {
  const adapter = await requestSecondAdapter()
  if (adapter !== null) return WebGpuDevice.open(adapter, { name: 'webgpu:1', ...options })
  throw new DeviceError(
    'no-second-adapter',
    'This browser offers no second WebGPU adapter, so there is no device webgpu:1: choose webgpu or wasm.',
    { device: 'webgpu:1' },
  )
}

/** The devices to choose from if the caller names none: real GPUs, the preferred one first, and the CPU. */
export async function listDevices(): Promise<readonly DeviceName[]> {
  const [first, second] = [await requestAdapter(), await requestSecondAdapter()]
  return [...(isReal(first) ? ['webgpu' as const] : []), ...(isReal(second) ? ['webgpu:1' as const] : []), 'wasm']
}

function isReal(adapter: GPUAdapter | null): boolean {
  return adapter !== null && !adapter.info.isFallbackAdapter
}
