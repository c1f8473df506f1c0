/**
 * Tracks the results that a kernel has not written because it replaces several dispatches. If a command reads such a result, the run ends with an error. {@link OmittedResults.endRun} returns
 * this error, because onnxruntime does not survive an error that is thrown while it records.
 */

import type { Dispatch } from './dispatch.js'

/** The omitted results of one device. */
export class OmittedResults {
  /** Buffers that a replaced dispatch would have written. */
  #buffers = new WeakSet<GPUBuffer>()
  #error: Error | undefined

  /**
   * Called when these dispatches are recorded, or when one dispatch is recorded that replaces them without writing the buffers `omitted`.
   */
  record(dispatches: readonly Dispatch[], omitted: readonly GPUBuffer[] = []): void {
    for (const { kernel, storage } of dispatches) {
      for (const [index, { buffer }] of storage.entries()) if (kernel.writes[index] !== true) this.read(buffer, kernel.label)
      for (const [index, { buffer }] of storage.entries()) if (kernel.writes[index] === true) this.wrote(buffer)
    }
    for (const buffer of omitted) this.#buffers.add(buffer)
  }

  /** Called when a command writes the buffer. */
  wrote(buffer: GPUBuffer): void {
    this.#buffers.delete(buffer)
  }

  /** Called when a command reads the buffer. */
  read(buffer: GPUBuffer, reader: string): void {
    if (!this.#buffers.has(buffer)) return
    this.#error ??= new Error(
      `${reader} reads a value that a kernel of Aquatint does not write, so the result is wrong. Open the device with kernels: 'onnxruntime'`,
    )
  }

  /** Called when onnxruntime has recorded all commands of a run. Returns an error if one of them reads an omitted result. */
  endRun(): Error | undefined {
    const error = this.#error
    this.#error = undefined
    return error
  }
}
