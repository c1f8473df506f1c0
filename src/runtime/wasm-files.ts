/** The URLs of the WebAssembly files of onnxruntime-web's builds, as expressions that bundlers recognise. */

/** The URL of a build's file. */
export const wasmFiles = {
  jspi: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm', import.meta.url),
  webgpu: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
  wasm: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url),
}

/** The bytes of a build's file where the site has it compressed (scripts/compress-wasm.mjs); undefined where onnxruntime-web can load it itself. */
export async function unpackedWasm(build: keyof typeof wasmFiles): Promise<Uint8Array | undefined> {
  const { href } = wasmFiles[build]()
  if (!href.endsWith('.gz.bin')) return undefined
  const { ok, status, body } = await fetch(href)
  if (!ok || body === null) throw new Error(`${href}: HTTP status ${status}`)
  return new Uint8Array(await new Response(body.pipeThrough(new DecompressionStream('gzip'))).arrayBuffer())
}

/** Whether this script came from another origin than the worker that runs it, as in a widget on somebody's page. */
export function isCrossOriginScript(): boolean {
  // Node has no location, and reads the files next to the package.
  return 'location' in globalThis && new URL(import.meta.url).origin !== globalThis.location.origin
}
