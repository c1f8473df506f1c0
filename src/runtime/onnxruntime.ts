/**
 * onnxruntime-web: the build that a device needs, loaded once, and the lock around every call into it. onnxruntime refuses two `create()` at
 * a time, and two `run()` at a time corrupt its memory, whatever their sessions: so there is one lock for the whole worker. Nothing outside
 * runtime/ uses onnxruntime-web.
 */

import type * as ort from 'onnxruntime-web'
import { DeviceError } from '../errors.js'
import { Mutex } from '../util/mutex.js'
import { processorThreads } from '../util/processor-threads.js'
import { isCrossOriginScript, unpackedWasm, wasmFiles } from './wasm-files.js'
import type { DeviceKind } from '../memory/device-info.js'

/** The module onnxruntime-web, in whichever build is loaded. */
export type OnnxRuntime = typeof ort
/** A compiled program. */
export type Session = ort.InferenceSession
export type OrtTensor = ort.Tensor

/** The release that this code is written for. The code depends on how this release treats buffers, so other releases are refused. */
export const onnxruntimeVersion = '1.30.0'

/** Locked during every call into onnxruntime-web. */
export const onnxruntimeLock = new Mutex()

type Build = 'jspi' | 'webgpu' | 'wasm'

const importers: Record<Build, () => Promise<OnnxRuntime>> = {
  jspi: () => import('onnxruntime-web/jspi'),
  webgpu: () => import('onnxruntime-web/webgpu'),
  wasm: () => import('onnxruntime-web/wasm'),
}

const loaded = new Map<Build, Promise<OnnxRuntime>>()

/** The build for a kind of device. For a GPU `jspi`, which is smaller and starts faster, if the browser can suspend WebAssembly. */
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
  let wasmBinary: Uint8Array | undefined
  try {
    ;[runtime, wasmBinary] = await Promise.all([importers[build](), unpackedWasm(build)])
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new DeviceError('runtime-not-loaded', `onnxruntime-web/${build} could not be loaded: ${reason}`, { build }, cause)
  }
  const version = runtime.env.versions.web ?? runtime.env.versions.common
  if (version !== onnxruntimeVersion) {
    const details = { expected: onnxruntimeVersion, actual: version ?? 'unknown' }
    throw new DeviceError(
      'runtime-version',
      `onnxruntime-web is ${details.actual}; Aquatint needs ${onnxruntimeVersion}.`,
      details,
    )
  }
  // The build for GPUs needs no threads, and a browser starts no thread with a script of another origin.
  const foreign = isCrossOriginScript()
  runtime.env.wasm.numThreads = build === 'wasm' && !foreign ? processorThreads() : 1
  // In a script of another origin, onnxruntime would otherwise download a JavaScript module that the script already contains
  // (importWasmModule in onnxruntime's wasm-utils-import.ts).
  if (wasmBinary !== undefined) runtime.env.wasm.wasmBinary = wasmBinary
  else if (foreign) runtime.env.wasm.wasmPaths = { wasm: wasmFiles[build]().href }
  return runtime
}

/** Runs a call into onnxruntime and turns its errors, which have a text only, into typed ones. @throws DeviceError `out-of-memory`, `runtime-error` */
export async function explained<T>(doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    const code = /out of memory|bad_alloc|allocation failed/i.test(text) ? 'out-of-memory' : 'runtime-error'
    throw new DeviceError(code, `onnxruntime failed while ${doing}: ${text}`, { doing }, cause)
  }
}
