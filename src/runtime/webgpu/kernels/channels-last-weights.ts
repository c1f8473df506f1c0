/**
 * Tracks which buffers an upload has filled with a convolution's weight in the order that onnxruntime's kernels read: [rows, columns, in, out] instead of the checkpoint's
 * [out, in, rows, columns]. onnxruntime does not know that a graph input is a weight, and dispatches a Transpose of it in every run. Where the buffer has that
 * order already, the Transpose is left out, and kernels that read its result read the weight instead.
 *
 * A buffer counts as being in this order until something writes it. The result of an omitted Transpose counts as omitted until something
 * writes its buffer or the run ends. Both are updated when a command is recorded, because onnxruntime creates and destroys the buffers of
 * its next 16 dispatches before it records them. A run fails if a command that {@link ChannelsLastWeights.resolve} cannot change reads such
 * a weight, or if no kernel reads the result of an omitted Transpose.
 */

import type { CompiledKernel, Dispatch } from './dispatch.js'

/** Axis i of the result of a Transpose is axis permutation[i] of its input; undefined if the kernel's text does not show it. */
export function permutation({ code }: CompiledKernel): readonly number[] | undefined {
  const rank = Number(/a_shape: vec(\d)<u32>/.exec(code)?.[1])
  const pairs = [...code.matchAll(/^ *a\[(\d)\] = i\[(\d)\];$/gm)].map(([, from, to]) => [Number(from), Number(to)] as const)
  if (pairs.length === 0 && rank === 2 && code.includes('var<workgroup> tile')) return [1, 0]
  return pairs.length === rank ? pairs.toSorted((a, b) => a[1] - b[1]).map(([from]) => from) : undefined
}

/**
 * Describes a Transpose as a string: for each axis of the result in order, its index in the input and its size. Axes of size 1 are left out, and axes
 * that stay neighbours are merged, so two Transposes that move the values in the same way give the same string.
 */
function orderOf(dims: readonly number[], axes: readonly number[]): string {
  const wide = axes.filter((axis) => dims[axis] !== 1)
  const places = wide.toSorted((a, b) => a - b)
  const found: { place: number; end: number; size: number }[] = []
  for (const axis of wide) {
    const place = places.indexOf(axis)
    const last = found.at(-1)
    const size = dims[axis] ?? 0
    if (last?.end === place) Object.assign(last, { end: place + 1, size: last.size * size })
    else found.push({ place, end: place + 1, size })
  }
  const starts = found.map(({ place }) => place).toSorted((a, b) => a - b)
  return found.map(({ place, size }) => `${starts.indexOf(place)}:${size}`).join()
}

/** Whether a dispatch transposes a whole weight [out, in, rows, columns] to [rows, columns, in, out]. */
function isTranspose({ kernel, uniforms, storage }: Dispatch, sizes: readonly number[]): boolean {
  const axes = kernel.label === 'Transpose' && kernel.bindings === 'a,output' ? permutation(kernel) : undefined
  if (axes === undefined || uniforms === undefined || !storage.every(isWhole)) return false
  const dims = [...uniforms.words.subarray(0, axes.length)]
  return orderOf(dims, axes) === orderOf(sizes, [2, 3, 1, 0])
}

function isWhole({ offset = 0 }: GPUBufferBinding): boolean {
  return offset === 0
}

function misread(reader: string): Error {
  return new Error(
    `${reader} reads a convolution’s weight in the order of the checkpoint, but its buffer has another order, so the result is wrong. Open the device with kernels: 'onnxruntime'`,
  )
}

function unread(): Error {
  return new Error(
    "Aquatint left out the Transpose of a convolution’s weight, but no kernel read the weight in its place, so the result is wrong. Open the device with kernels: 'onnxruntime'",
  )
}

/** The weights of one device that have channels last in their buffers. */
export class ChannelsLastWeights {
  /** The buffers that contain a weight with channels last, each with the weight's sizes [out, in, rows, columns]. */
  readonly #sizes = new WeakMap<GPUBuffer, readonly number[]>()
  /** For each Transpose that this run left out, by the buffer of its result: the weight to read instead, and whether it was read. */
  readonly #originals = new Map<GPUBuffer, { readonly weight: GPUBuffer; isRead: boolean }>()
  #misread: Error | undefined

  /**
   * Records that an upload has filled `buffer` with a weight [out, in, rows, columns] in the order [rows, columns, in, out], until the next write.
   */
  add(buffer: GPUBuffer, sizes: readonly number[]): void {
    this.#sizes.set(buffer, sizes)
  }

  /** Records that something writes the buffer. */
  wrote(buffer: GPUBuffer): void {
    this.#sizes.delete(buffer)
    const original = this.#originals.get(buffer)
    if (original === undefined) return
    this.#originals.delete(buffer)
    if (!original.isRead) this.#misread ??= unread()
  }

  /**
   * Records that the buffer is read by a command that {@link resolve} cannot change. If the buffer contains a weight with channels last, or
   * should contain the result of a Transpose that was left out, the command reads wrong values. {@link endRun} returns the error, because
   * onnxruntime does not survive an error that is thrown while it records.
   */
  read(buffer: GPUBuffer, reader: string): void {
    if (!this.#sizes.has(buffer) && !this.#originals.has(buffer)) return
    this.#misread ??= misread(reader)
  }

  /** Call after all commands of an onnxruntime run are recorded. Returns an error if a command would read wrong values. */
  endRun(): Error | undefined {
    for (const { isRead } of this.#originals.values()) if (!isRead) this.#misread ??= unread()
    const error = this.#misread
    this.#originals.clear()
    this.#misread = undefined
    return error
  }

  /** The dispatch to record: the same one, one that reads weights in place of omitted results, or undefined for an omitted Transpose. */
  resolve(dispatch: Dispatch): Dispatch | undefined {
    const { kernel, storage } = dispatch
    const [source, result] = storage
    const sizes = source === undefined ? undefined : this.#sizes.get(source.buffer)
    if (source !== undefined && sizes !== undefined && result !== undefined && isTranspose(dispatch, sizes)) {
      this.wrote(result.buffer)
      this.#originals.set(result.buffer, { weight: source.buffer, isRead: false })
      return undefined
    }
    let changed = false
    const bound = storage.map((binding, index) => {
      const original = kernel.writes[index] === true ? undefined : this.#originals.get(binding.buffer)
      if (original === undefined || !this.#sizes.has(original.weight) || !isWhole(binding)) return binding
      original.isRead = true
      changed = true
      return { buffer: original.weight }
    })
    for (const [index, { buffer }] of storage.entries()) {
      if (kernel.writes[index] === true) this.wrote(buffer)
      else if (bound[index]?.buffer === buffer) this.read(buffer, kernel.label)
    }
    return changed ? { ...dispatch, storage: bound } : dispatch
  }
}
