/**
 * WebGPU in Node: Dawn, from the npm package `webgpu`, as the globals that a browser has. The package is not installed with the project, because it
 * takes 140 MB; bench/gpu/packages pins it.
 */

/** The package's exports. */
interface Dawn {
  readonly create: (options: readonly string[]) => GPU
  readonly globals: Readonly<Record<string, unknown>>
}

/**
 * Makes `navigator.gpu` and WebGPU's classes. The object stays alive as long as the process, because Dawn's devices need it.
 * @throws Error if the package is missing or does not fit the machine
 */
export async function installWebGpu(): Promise<void> {
  const name = 'webgpu'
  const { create, globals } = (await import(/* @vite-ignore */ name)) as Dawn
  Object.assign(globalThis, globals)
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]), hardwareConcurrency: 1 }, configurable: true })
  const { writeBuffer } = GPUQueue.prototype
  // Dawn refuses views of shared memory, in which onnxruntime keeps its heap; browsers accept them.
  GPUQueue.prototype.writeBuffer = function (this: GPUQueue, buffer, offset, data, ...range) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data
    if (memory instanceof ArrayBuffer || !ArrayBuffer.isView(data)) return writeBuffer.call(this, buffer, offset, data, ...range)
    const copy = new Uint8Array(new Uint8Array(memory, data.byteOffset, data.byteLength))
    return writeBuffer.call(this, buffer, offset, copy, ...range)
  }
}
