/**
 * A GPUDevice of our own: which adapter, with which limits and features, and how its errors become ours. onnxruntime is handed this
 * device, so what it computes stays usable after a session is gone. Buffers and their account are in gpu-buffers.ts.
 */

import { DeviceError } from '../../errors.js'
import { formatBytes } from '../../util/format-bytes.js'
import type { DeviceInfo, DeviceName } from '../../memory/device-info.js'

/** Limits that are asked for at the adapter's maximum: those that onnxruntime's kernels and large weights need. */
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

/** Features that onnxruntime's kernels use when they are there. */
const wantedFeatures = ['shader-f16', 'subgroups', 'timestamp-query'] as const satisfies readonly GPUFeatureName[]

/**
 * The smallest subgroups that onnxruntime's flash attention is right on. With those of 4, which a software adapter has, 1.30 gives wrong
 * values as soon as there are more than 64 keys (src/onnx/ops.browser.test.ts); without the feature it takes another path.
 */
const smallestSubgroup = 8

/** The adapter, or null where the browser has no WebGPU or no adapter. */
export async function requestAdapter(powerPreference: GPUPowerPreference = 'high-performance'): Promise<GPUAdapter | null> {
  // Typed as always there, but absent in browsers without WebGPU, on insecure origins and outside browsers.
  const { navigator: host }: { readonly navigator?: { readonly gpu?: GPU } } = globalThis
  return (await host?.gpu?.requestAdapter({ powerPreference })) ?? null
}

/**
 * An adapter of another GPU than {@link requestAdapter} gives, or null. All that a page can choose by is the power preference, and all
 * that tells two adapters apart is what they say of themselves.
 */
export async function requestSecondAdapter(): Promise<GPUAdapter | null> {
  const first = await requestAdapter('high-performance')
  const second = await requestAdapter('low-power')
  return first === null || second === null || identityOf(first.info) === identityOf(second.info) ? null : second
}

function identityOf({ vendor, architecture, device, description, isFallbackAdapter }: GPUAdapterInfo): string {
  return JSON.stringify([vendor, architecture, device, description, isFallbackAdapter])
}

/** What an adapter can do. */
export function describeAdapter(adapter: GPUAdapter, name: DeviceName = 'webgpu'): DeviceInfo {
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info
  return {
    name,
    kind: 'webgpu',
    description: [vendor, architecture, description].filter((word) => word !== '').join(' ') || 'unknown GPU',
    isFallbackAdapter,
    shaderF16: adapter.features.has('shader-f16'),
    maxBufferSize: Math.min(adapter.limits.maxBufferSize, adapter.limits.maxStorageBufferBindingSize),
  }
}

/** Asks for a device with all that the adapter offers of the lists above. @throws DeviceError `device-not-available` */
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

/** What a GPUError means to a caller. `doing` completes "while …". */
export function gpuError(error: GPUError, doing: string): DeviceError {
  const code = error instanceof GPUOutOfMemoryError ? 'out-of-memory' : 'gpu-error'
  const what = code === 'out-of-memory' ? 'The GPU ran out of memory' : 'The GPU reported an error'
  return new DeviceError(code, `${what} while ${doing}: ${error.message || 'no message'}`, { doing })
}

/** A buffer that was wanted, and all that would have been there with it, in bytes. */
export interface RefusedBuffer {
  readonly owner: string
  readonly bytes: number
  readonly live: number
}

/** The error of a buffer that the GPU had no room for. `details.live`: bytes of buffers that were too many. */
export function outOfMemory({ owner, bytes, live }: RefusedBuffer, cause: Error): DeviceError {
  const message = `The GPU ran out of memory: ${owner} requested ${formatBytes(bytes)} in addition to the ${formatBytes(live - bytes)} in use.`
  return new DeviceError('out-of-memory', message, { component: owner, bytes, live }, cause)
}

/** What a task gave, and the errors that the GPU will have reported for it by the time it has taken its commands. */
export interface Watched<T> {
  readonly value: T
  /** @throws DeviceError `out-of-memory`, `gpu-error` */
  readonly verified: Promise<void>
}

/**
 * Runs `task` in error scopes. Its errors come with `verified`, out of memory first, so that the next task need not wait for the GPU
 * process; a task that fails is told at once. Scopes are a stack: `task` must not overlap another watched one.
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
  // Looked at later, maybe after another failure has made it pointless.
  verified.catch(() => {})
  return { value: outcome.value, verified }
}

async function check(scopes: readonly Promise<GPUError | null>[], doing: string): Promise<void> {
  for (const error of await Promise.all(scopes)) if (error !== null) throw gpuError(error, doing)
}
