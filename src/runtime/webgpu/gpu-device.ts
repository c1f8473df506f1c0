/**
 * Opens a GPUDevice: chooses its adapter, limits and features, and turns its errors into DeviceErrors. The library owns the device and
 * gives it to onnxruntime, so tensors stay usable after a session has been released. Buffers and their account are in gpu-buffers.ts.
 */

import { DeviceError } from '../../errors.js'
import { adapterName } from '../../util/adapter-name.js'
import { formatBytes } from '../../util/format-bytes.js'
import { capabilitiesOf, type DeviceInfo, type DeviceName, ownKernels } from '../../memory/device-info.js'

/** Limits that are requested at the adapter's maximum: onnxruntime's kernels and large weights need them. */
const wantedLimits = [
  'maxBindGroups',
  'maxBufferSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
] as const satisfies readonly (keyof GPUSupportedLimits)[]

/** Optional features that onnxruntime's kernels use. */
const wantedFeatures = ['shader-f16', 'subgroups', 'timestamp-query'] as const satisfies readonly GPUFeatureName[]

/**
 * The smallest subgroups on which onnxruntime's flash attention is correct. With subgroups of 4, as software adapters have, release 1.30
 * computes wrong values for more than 64 keys (src/onnx/ops.browser.test.ts); without the feature it uses other kernels.
 */
const smallestSubgroup = 8

/** The preferred adapter, or null if the browser has no WebGPU or no adapter. */
export async function requestAdapter(powerPreference: GPUPowerPreference = 'high-performance'): Promise<GPUAdapter | null> {
  // TypeScript's type says that `navigator.gpu` always exists, but it is missing in browsers without WebGPU, on insecure origins and
  // outside browsers.
  const { navigator: host }: { readonly navigator?: { readonly gpu?: GPU } } = globalThis
  return (await host?.gpu?.requestAdapter({ powerPreference })) ?? null
}

/**
 * An adapter of another GPU than {@link requestAdapter} gives, or null. A page can only choose by power preference, and can only distinguish two
 * adapters by their descriptions.
 */
export async function requestSecondAdapter(): Promise<GPUAdapter | null> {
  const first = await requestAdapter('high-performance')
  const second = await requestAdapter('low-power')
  return first === null || second === null || identityOf(first.info) === identityOf(second.info) ? null : second
}

function identityOf({ vendor, architecture, device, description, isFallbackAdapter }: GPUAdapterInfo): string {
  return JSON.stringify([vendor, architecture, device, description, isFallbackAdapter])
}

/** The capabilities of an adapter. */
export function describeAdapter(adapter: GPUAdapter, name: DeviceName = 'webgpu'): DeviceInfo {
  const { isFallbackAdapter } = adapter.info
  return {
    name,
    kind: 'webgpu',
    description: adapterName(adapter.info) || `${isFallbackAdapter ? 'software adapter' : 'GPU'} that the browser does not name`,
    isFallbackAdapter,
    shaderF16: adapter.features.has('shader-f16'),
    maxBufferSize: Math.min(adapter.limits.maxBufferSize, adapter.limits.maxStorageBufferBindingSize),
    kernels: ownKernels,
    capabilities: capabilitiesOf.webgpu,
  }
}

/**
 * Requests a device with the adapter's values of {@link wantedLimits}, and those of {@link wantedFeatures} that it has, but without
 * `subgroups` if they can be smaller than {@link smallestSubgroup}. @throws DeviceError `device-not-available`
 */
export async function requestDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  const requiredLimits: Record<string, number> = {}
  for (const limit of wantedLimits) requiredLimits[limit] = adapter.limits[limit]
  const requiredFeatures = wantedFeatures.filter(
    (feature) => adapter.features.has(feature) && (feature !== 'subgroups' || adapter.info.subgroupMinSize >= smallestSubgroup),
  )
  try {
    return await adapter.requestDevice({ label: 'aquatint', requiredLimits, requiredFeatures })
  } catch (cause) {
    throw new DeviceError('device-not-available', 'The browser did not open the GPU device.', {}, cause)
  }
}

/** The error of a lost device. */
export function deviceLostError(info: Pick<GPUDeviceLostInfo, 'reason' | 'message'>): DeviceError {
  const why = (info.message === '' ? info.reason : info.message).replace(/\.+$/, '')
  return new DeviceError('device-lost', `The GPU device was lost: ${why || 'no reason given'}.`, { reason: info.reason })
}

/** Turns a GPUError into a DeviceError. `doing` completes "while …". */
export function gpuError(error: GPUError, doing: string): DeviceError {
  const code = error instanceof GPUOutOfMemoryError ? 'out-of-memory' : 'gpu-error'
  const what = code === 'out-of-memory' ? 'The GPU ran out of memory' : 'The GPU reported an error'
  return new DeviceError(code, `${what} while ${doing}: ${error.message || 'no message'}`, { doing })
}

/** A buffer that was requested, and the bytes of all buffers including it. */
export interface RefusedBuffer {
  readonly owner: string
  readonly bytes: number
  readonly live: number
}

/** The error for a buffer that the GPU had no memory for. `details.live`: bytes of all buffers, this one included, which were too many. */
export function outOfMemory({ owner, bytes, live }: RefusedBuffer, cause: Error): DeviceError {
  const message = `The GPU ran out of memory: ${owner} requested ${formatBytes(bytes)} in addition to the ${formatBytes(live - bytes)} in use.`
  return new DeviceError('out-of-memory', message, { component: owner, bytes, live }, cause)
}

/** The result of a task, and a promise of the errors that the GPU reports once it has validated the task's commands. */
export interface Watched<T> {
  readonly value: T
  /** @throws DeviceError `out-of-memory`, `gpu-error` */
  readonly verified: Promise<void>
}

/**
 * Runs `task` in error scopes. `verified` rejects with the GPU's error, out of memory first, and the caller can start the next task before
 * it settles. If `task` throws, this function waits for the GPU's error and throws it, or else the task's. Scopes are a stack: `task` must
 * not overlap with another watched task.
 */
export async function watched<T>(device: GPUDevice, doing: string, task: () => Promise<T>): Promise<Watched<T>> {
  for (const filter of ['validation', 'internal', 'out-of-memory'] as const) device.pushErrorScope(filter)
  let outcome: { readonly value: T } | { readonly error: unknown }
  try {
    outcome = { value: await task() }
  } catch (error) {
    outcome = { error }
  }
  const verified = check([device.popErrorScope(), device.popErrorScope(), device.popErrorScope()], doing)
  if ('error' in outcome) {
    await verified
    throw outcome.error
  }
  // The caller awaits it later, or not at all if another error comes first.
  verified.catch(() => {})
  return { value: outcome.value, verified }
}

async function check(scopes: readonly Promise<GPUError | null>[], doing: string): Promise<void> {
  for (const error of await Promise.all(scopes)) if (error !== null) throw gpuError(error, doing)
}
