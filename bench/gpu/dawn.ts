/**
 * Provides WebGPU in Node: defines the globals that a browser has with Dawn, from the npm package `webgpu`. The package takes 140 MB, so
 * the project does not install it; bench/gpu/packages pins its version.
 */

/** The package's exports. */
interface Dawn {
  readonly create: (options: readonly string[]) => GPU
  readonly globals: Readonly<Record<string, unknown>>
}

/**
 * Defines `navigator.gpu` and WebGPU's classes as globals. `navigator` keeps the GPU object alive, because Dawn's devices need it.
 * @throws Error if the package is missing or does not fit the machine
 */
export async function installWebGpu(): Promise<void> {
  const name = 'webgpu'
  const { create, globals } = (await import(/* @vite-ignore */ name)) as Dawn
  Object.assign(globalThis, globals)
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]), hardwareConcurrency: 1 }, configurable: true })
  const { value }: PropertyDescriptor = Object.getOwnPropertyDescriptors(GPUQueue.prototype).writeBuffer
  const write = value as GPUQueue['writeBuffer']
  // Dawn refuses views of shared memory, in which onnxruntime keeps its heap; browsers accept them.
  GPUQueue.prototype.writeBuffer = function (this: GPUQueue, buffer, offset, data, ...range) {
    const isShared = ArrayBuffer.isView(data) && !(data.buffer instanceof ArrayBuffer)
    const bytes = isShared ? new Uint8Array(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) : data
    return write.call(this, buffer, offset, bytes, ...range)
  }
}
