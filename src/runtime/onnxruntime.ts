/**
 * onnxruntime-web: which of its builds a device needs, loaded once, and the one lock that everything it does goes through. Two
 * `create()` at a time are refused by it and two `run()` at a time corrupt its memory, whatever the sessions, so the lock is
 * one for the whole worker. Nothing outside runtime/ sees onnxruntime-web.
 */

import type * as ort from 'onnxruntime-web'
import { DeviceError } from '../errors.js'
import { Mutex } from '../util/mutex.js'
import { isCrossOriginScript, wasmFiles } from './wasm-files.js'
import type { DeviceKind } from '../memory/device-info.js'

export type OnnxRuntime = typeof ort
export type Session = ort.InferenceSession
export type OrtTensor = ort.Tensor

/** The release that this code was written against: it leans on how that one treats buffers, so another is refused. */
export const onnxruntimeVersion = '1.30.0'

/** Held during every call into onnxruntime-web. */
export const onnxruntimeLock = new Mutex()

type Build = 'jspi' | 'webgpu' | 'wasm'

const importers: Record<Build, () => Promise<OnnxRuntime>> = {
  jspi: () => import('onnxruntime-web/jspi'),
  webgpu: () => import('onnxruntime-web/webgpu'),
  wasm: () => import('onnxruntime-web/wasm'),
}

const loaded = new Map<Build, Promise<OnnxRuntime>>()

/** The build for a kind of device: jspi where the browser can suspend WebAssembly, since it is smaller and faster to start. */
export function buildFor(kind: DeviceKind, scope: object = WebAssembly): Build {
  if (kind === 'wasm') return 'wasm'
  return 'Suspending' in scope ? 'jspi' : 'webgpu'
}

/** Loads the build for a kind of device, once. @throws DeviceError `runtime-not-loaded`, `runtime-version` */
export async function loadOnnxRuntime(kind: DeviceKind): Promise<OnnxRuntime> {
  const build = buildFor(kind)
  let promise = loaded.get(build)
  if (promise === undefined) {
    promise = load(build)
    loaded.set(build, promise)
    promise.catch(() => loaded.delete(build))
  }
  return promise
}

async function load(build: Build): Promise<OnnxRuntime> {
  let runtime: OnnxRuntime
  try {
    runtime = await importers[build]()
  } catch (cause) {
    throw new DeviceError('runtime-not-loaded', `onnxruntime-web/${build} could not be loaded.`, { build }, cause)
  }
  const version = runtime.env.versions.web ?? runtime.env.versions.common
  if (version !== onnxruntimeVersion) {
    const details = { expected: onnxruntimeVersion, actual: version ?? 'unknown' }
    throw new DeviceError(
      'runtime-version',
      `onnxruntime-web is ${details.actual}; this code needs ${onnxruntimeVersion}.`,
      details,
    )
  }
  // Threads need shared memory, which a page has only when it is cross-origin isolated. A GPU does not need them.
  const foreign = isCrossOriginScript()
  const threads = build === 'wasm' && globalThis.crossOriginIsolated && !foreign ? Math.min(navigator.hardwareConcurrency, 8) : 1
  runtime.env.wasm.numThreads = threads
  // Otherwise it would look beside its script for a module that it holds already (importWasmModule in its wasm-utils-import.ts).
  if (foreign) runtime.env.wasm.wasmPaths = { wasm: wasmFiles[build]().href }
  return runtime
}

/** Runs a call into onnxruntime and tells its errors, which are text only, as ours. @throws DeviceError `out-of-memory`, `runtime-error` */
export async function explained<T>(doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    const code = /out of memory|bad_alloc|allocation failed/i.test(text) ? 'out-of-memory' : 'runtime-error'
    throw new DeviceError(code, `onnxruntime failed while ${doing}: ${text}`, { doing }, cause)
  }
}
