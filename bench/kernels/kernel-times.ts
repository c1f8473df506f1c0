/**
 * The time of each kernel in a run: every dispatch gets a compute pass of its own, with timestamps of the device at its beginning and its end. The run as a whole becomes slower,
 * so the times show the share of each kernel, and not its seconds in an ordinary run.
 */

import { replaceMethod } from '../../src/runtime/webgpu/testing-gpu.js'

/** The dispatches of one kernel in a run, and the time that they took. */
export interface KernelTime {
  readonly kernel: string
  readonly dispatches: number
  readonly milliseconds: number
}

/** A timestamp is a 64-bit number of nanoseconds. */
const timestampBytes = 8

/** The most timestamps of a query set. */
const most = 4096

/** WebGPU's usages: `QUERY_RESOLVE`, `COPY_SRC`, `COPY_DST`, `MAP_READ`. */
const usages = { resolve: 0x200, source: 0x04, target: 0x08, map: 0x01 } as const

/** Replaces the pass that the caller records: every dispatch is recorded in a separate pass. */
class DividedPass {
  pipeline: GPUComputePipeline | undefined
  group: GPUBindGroup | undefined
  readonly encoder: GPUCommandEncoder

  constructor(encoder: GPUCommandEncoder) {
    this.encoder = encoder
  }
}

/** Times all dispatches of all devices after the creation of this object. Only one run at a time may be recorded. */
export class KernelTimes {
  #queries: GPUQuerySet | undefined
  #labels: string[] = []
  readonly #device = new WeakMap<GPUCommandEncoder, GPUDevice>()
  readonly #passes = new WeakMap<GPUComputePassEncoder, DividedPass>()

  constructor(labelOf: (pipeline: GPUComputePipeline) => string) {
    let beginPass: GPUCommandEncoder['beginComputePass']
    let setPipeline: GPUComputePassEncoder['setPipeline']
    let setBindGroup: GPUComputePassEncoder['setBindGroup']
    let endPass: GPUComputePassEncoder['end']
    const [devices, passes] = [this.#device, this.#passes]
    const divided = (pass: GPUComputePassEncoder) => {
      const found = passes.get(pass)
      if (found === undefined) throw new Error('The pass was begun before')
      return found
    }
    const next = (encoder: GPUCommandEncoder, pipeline: GPUComputePipeline) => this.#next(encoder, labelOf(pipeline))
    replaceMethod(
      GPUDevice.prototype,
      'createCommandEncoder',
      (create) =>
        function (this: GPUDevice, descriptor) {
          const encoder = create.call(this, descriptor)
          devices.set(encoder, this)
          return encoder
        },
    )
    replaceMethod(GPUCommandEncoder.prototype, 'beginComputePass', (begin) => {
      beginPass = begin
      return function (this: GPUCommandEncoder) {
        // A stand-in for a pass, which only inherits the methods of GPUComputePassEncoder. These methods are replaced below.
        const pass = Object.create(GPUComputePassEncoder.prototype) as GPUComputePassEncoder
        passes.set(pass, new DividedPass(this))
        return pass
      }
    })
    replaceMethod(GPUComputePassEncoder.prototype, 'setPipeline', (set) => {
      setPipeline = set
      return function (this: GPUComputePassEncoder, pipeline) {
        divided(this).pipeline = pipeline
      }
    })
    replaceMethod(GPUComputePassEncoder.prototype, 'setBindGroup', (set) => {
      setBindGroup = set
      return function (this: GPUComputePassEncoder, _: number, group: GPUBindGroup | null | undefined) {
        divided(this).group = group ?? undefined
      }
    })
    replaceMethod(GPUComputePassEncoder.prototype, 'end', (end) => {
      endPass = end
      return () => undefined
    })
    replaceMethod(
      GPUComputePassEncoder.prototype,
      'dispatchWorkgroups',
      (dispatch) =>
        function (this: GPUComputePassEncoder, ...grid) {
          const { encoder, pipeline, group } = divided(this)
          if (pipeline === undefined || group === undefined) throw new Error('A dispatch has no pipeline or no bind group')
          const pass = beginPass.call(encoder, { timestampWrites: next(encoder, pipeline) })
          setPipeline.call(pass, pipeline)
          setBindGroup.call(pass, 0, group)
          dispatch.apply(pass, grid)
          endPass.call(pass)
        },
    )
  }

  #next(encoder: GPUCommandEncoder, label: string): GPUComputePassTimestampWrites {
    const device = this.#device.get(encoder)
    if (device === undefined) throw new Error('The command encoder was created before')
    this.#queries ??= device.createQuerySet({ type: 'timestamp', count: most })
    const index = 2 * this.#labels.length
    if (index + 2 > most) throw new Error(`A run has more than ${most / 2} dispatches`)
    this.#labels.push(label)
    return { querySet: this.#queries, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 }
  }

  /** Forgets what was recorded. The next run may be on another device. */
  clear(): void {
    this.#queries?.destroy()
    this.#queries = undefined
    this.#labels = []
  }

  /** The times since the last {@link clear}, by kernel, the longest first. */
  async read(device: GPUDevice): Promise<readonly KernelTime[]> {
    const [queries, labels] = [this.#queries, this.#labels]
    if (queries === undefined) return []
    const size = 2 * labels.length * timestampBytes
    const resolved = device.createBuffer({ size, usage: usages.resolve | usages.source })
    const mapped = device.createBuffer({ size, usage: usages.map | usages.target })
    const encoder = device.createCommandEncoder()
    encoder.resolveQuerySet(queries, 0, 2 * labels.length, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, mapped, 0, size)
    device.queue.submit([encoder.finish()])
    await mapped.mapAsync(usages.map)
    const nanoseconds = new BigUint64Array(mapped.getMappedRange().slice(0))
    const sums = new Map<string, { dispatches: number; milliseconds: number }>()
    for (const [index, label] of labels.entries()) {
      const sum = sums.get(label) ?? { dispatches: 0, milliseconds: 0 }
      const took = Number((nanoseconds[2 * index + 1] ?? 0n) - (nanoseconds[2 * index] ?? 0n)) / 1e6
      sums.set(label, { dispatches: sum.dispatches + 1, milliseconds: sum.milliseconds + took })
    }
    for (const buffer of [resolved, mapped]) buffer.destroy()
    const times = [...sums].map(([kernel, sum]) => Object.assign({ kernel }, sum))
    return times.toSorted((a, b) => b.milliseconds - a.milliseconds)
  }
}
