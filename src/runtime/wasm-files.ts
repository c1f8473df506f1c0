/** The WebAssembly files of onnxruntime-web's builds: their URLs, as expressions that bundlers recognise, and the unpacking of those that the built site has compressed. */

/** The URL of a build's file. */
export const wasmFiles = {
  jspi: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm', import.meta.url),
  webgpu: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
  wasm: () => new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url),
}

const wasmSignature = [0, 0x61, 0x73, 0x6d]
const gzipSignature = [0x1f, 0x8b]

/** The bytes of a build's file if the site has compressed it (scripts/compress-wasm.mjs); undefined if onnxruntime-web can load the file itself. */
export async function unpackedWasm(build: keyof typeof wasmFiles): Promise<Uint8Array | undefined> {
  const { href } = wasmFiles[build]()
  return href.endsWith('.gz.bin') ? unpackWasm(href) : undefined
}

/** Downloads a compressed WebAssembly file. @throws Error that says what is wrong with the answer, or that the browser cannot unpack it */
export async function unpackWasm(href: string): Promise<Uint8Array> {
  const response = await fetch(href)
  if (!response.ok) throw new Error(`${href} gave HTTP status ${response.status}`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  // If a host sends the file with a `Content-Encoding`, the browser has already unpacked it.
  if (startsWith(bytes, wasmSignature)) return bytes
  // Some hosts answer with their start page if a file is missing.
  if (!startsWith(bytes, gzipSignature)) throw new Error(`the host sent another file as ${href}`)
  if (!('DecompressionStream' in globalThis)) throw new Error('this browser has no DecompressionStream, which unpacks it')
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
    return new Uint8Array(await new Response(stream).arrayBuffer())
  } catch (cause) {
    throw new Error(`${href} was cut short or changed (${bytes.length} bytes arrived)`, { cause })
  }
}

function startsWith(bytes: Uint8Array, signature: readonly number[]): boolean {
  return signature.every((byte, index) => bytes[index] === byte)
}

/** Whether this script came from another origin than the worker that runs it, as in a widget on somebody's page. */
export function isCrossOriginScript(): boolean {
  // Node has no location, and reads the files next to the package.
  return 'location' in globalThis && new URL(import.meta.url).origin !== globalThis.location.origin
}
