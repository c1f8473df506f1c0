/** The URLs of the WebAssembly files of onnxruntime-web's builds, as expressions that bundlers recognise. */

/** The URL of a build's file. */
export const wasmFiles = {
  jspi: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm', import.meta.url),
  webgpu: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
  wasm: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url),
}

/** Whether this script came from another origin than the worker that runs it, as in a widget on somebody's page. */
export function isCrossOriginScript(): boolean {
  // Node has no location, and reads the files next to the package.
  return 'location' in globalThis && new URL(import.meta.url).origin !== globalThis.location.origin
}
