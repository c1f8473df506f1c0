/** Types: the dispatches that onnxruntime records on a compute pass, and the kernels that replace sequences of them. */

/** A kernel that onnxruntime compiled. */
export interface CompiledKernel {
  /** The name of the kernel's program. */
  readonly label: string
  /** The WGSL source as it was compiled. */
  readonly code: string
  /** The names of the kernel's storage buffers, in order, joined by commas. */
  readonly bindings: string
  /** For each storage buffer, whether the kernel can write it. */
  readonly writes: readonly boolean[]
}

/** One dispatch of a kernel. */
export interface Dispatch {
  readonly kernel: CompiledKernel
  readonly pipeline: GPUComputePipeline
  readonly group: GPUBindGroup
  /** The buffers that are bound as its storage, in the order of {@link CompiledKernel.bindings}. */
  readonly storage: readonly GPUBufferBinding[]
  /** The uniforms, as a binding and as the values that were written last; undefined if they are not known. */
  readonly uniforms: { readonly binding: GPUBufferBinding; readonly words: Uint32Array } | undefined
  readonly grid: readonly [number, number, number]
  /** Buffers of onnxruntime that this dispatch does not write, because it writes one of this library's instead. Absent: none. */
  readonly omitted?: readonly GPUBuffer[] | undefined
}

/** One dispatch of a kernel of this library, in place of one or more of onnxruntime's. */
export interface Launch {
  readonly label: string
  readonly code: string
  /** The buffers, which are bound in this order from binding 0 on. */
  readonly bindings: readonly GPUBufferBinding[]
  readonly grid: readonly [number, number, number]
  /** Buffers that the replaced dispatches write and this one does not. The run fails if a kernel reads one of them. Absent: none. */
  readonly omitted?: readonly GPUBuffer[] | undefined
}

/** A sequence's decision about the dispatches since the first one that was held back. */
export interface Match {
  /** Whether another dispatch may continue the sequence. */
  readonly open: boolean
  /** The dispatch that replaces all these dispatches; undefined if one dispatch cannot replace them. */
  readonly launch?: Launch | undefined
}

/**
 * Decides whether one kernel can replace `held`, dispatches in direct succession. The kernel need not write values that only these
 * dispatches read: the comment of each sequence's file says why nothing else reads them. Returns undefined if no such sequence begins with
 * `held`.
 */
export type Sequence = (held: readonly Dispatch[], limits: GPUSupportedLimits) => Match | undefined

/** The buffer at a position of a dispatch's storage bindings. */
export function bufferAt({ storage }: Dispatch, index: number): GPUBuffer | undefined {
  return storage[index]?.buffer
}

/** Whether a buffer is both read and written, or is written through two bindings. WebGPU allows neither in one dispatch. */
export function overlap(read: readonly GPUBufferBinding[], written: readonly GPUBufferBinding[]): boolean {
  const buffers = new Set(written.map(({ buffer }) => buffer))
  return buffers.size < written.length || read.some(({ buffer }) => buffers.has(buffer))
}
