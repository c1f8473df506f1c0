/**
 * Adds the products of fused LoRAs to weights while they are uploaded: a kernel adds scale · B·A to a weight in its buffer. Sums are float32, and each value is rounded once, to the
 * type of the weight.
 */

import { readFloats } from '../../checkpoint/element-types.js'
import type { FusedProducts } from '../../checkpoint/types.js'
import { factorBytes, type WeightKey } from '../../memory/needs.js'
import { elementCount } from '../../util/element-count.js'
import type { GpuBuffers } from './gpu-buffers.js'
import { openUploadBuffers, UploadKernel, workgroupSize } from './upload-kernel.js'

/** WebGPU's limit of workgroups along an axis. The kernel computes further rows in a loop. */
const mostGroups = 65_535

/** Adds products during one upload. */
export interface ProductWriter {
  /** Adds the products of a fused weight to its buffer, which holds the weight of the checkpoint. */
  add(buffer: GPUBuffer, weight: WeightKey, signal: AbortSignal | undefined): Promise<void>
  destroy(): void
}

/** Opens writers for one device. They share a compiled kernel. */
export class LoraUpload {
  readonly #device: GPUDevice
  readonly #buffers: GpuBuffers
  readonly #kernel: UploadKernel

  constructor(device: GPUDevice, buffers: GpuBuffers) {
    this.#device = device
    this.#buffers = buffers
    this.#kernel = new UploadKernel(device, buffers, 'AddLora', textOf)
  }

  /**
   * Makes the buffers for the factors of these weights. Returns undefined if none of the weights is fused.
   * @throws DeviceError `out-of-memory`
   */
  async open(owner: string, wanted: readonly WeightKey[]): Promise<ProductWriter | undefined> {
    const { a, b } = factorBytes(wanted.map(({ entry }) => entry))
    if (a === 0) return undefined
    const { storage, sizes, destroy } = await openUploadBuffers(this.#buffers, owner, [a, b])
    const [left, right] = storage
    if (left === undefined || right === undefined) throw new TypeError('A buffer that was requested is missing.')
    return {
      add: async (buffer, weight, signal) => {
        const { fused } = weight.entry
        if (fused === undefined) return
        const factors = await readFactors(fused, signal)
        this.#buffers.write(left, 0, bytesOf(factors.a))
        this.#buffers.write(right, 0, bytesOf(factors.b))
        this.#add([left, right, buffer, sizes], weight, factors)
      },
      destroy,
    }
  }

  #add(
    bound: readonly [GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer],
    { type, channelsLast }: WeightKey,
    { rows, columns, rank }: Factors,
  ): void {
    const [, , tall = 1, wide = 1] = channelsLast ?? []
    const layout = Uint32Array.of(rows, columns, rank, tall * wide, channelsLast === undefined ? 0 : 1)
    this.#device.queue.writeBuffer(bound[3], 0, layout)
    this.#kernel.run(type, bound, Math.ceil(columns / workgroupSize), Math.min(rows, mostGroups))
  }
}

/** All products of a weight as a single one, b·a: a is [rank, columns], b is [rows, rank]. */
interface Factors {
  readonly rows: number
  readonly columns: number
  readonly rank: number
  readonly a: Float32Array<ArrayBuffer>
  readonly b: Float32Array<ArrayBuffer>
}

/** The factors of all products, joined along the rank. The scales are multiplied into `b`. */
async function readFactors({ base: { shape }, products }: FusedProducts, signal: AbortSignal | undefined): Promise<Factors> {
  const [rows = 1, ...inner] = shape
  const columns = elementCount(inner)
  const rank = products.reduce((sum, one) => sum + one.rank, 0)
  const [a, b] = [new Float32Array(rank * columns), new Float32Array(rows * rank)]
  let first = 0
  for (const one of products) {
    const [own, left] = await Promise.all([readFloats(one.a, { signal }), readFloats(one.b, { signal })])
    a.set(own, first * columns)
    for (const [index, value] of left.entries())
      b[Math.floor(index / one.rank) * rank + first + (index % one.rank)] = one.scale * value
    first += one.rank
  }
  return { rows, columns, rank, a, b }
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

/** WGSL of the kernel: each thread computes one value of a row, and neighbouring threads read neighbours of `a` and the same value of `b`. */
function textOf(type: string): string {
  return `@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<${type}>;
// A weight is [rows, columns]; in a convolution, each column is one pixel of the kernel for one input channel. With channels last, the
// buffer has the order [kernel pixel, channel, row].
struct Sizes { rows: u32, columns: u32, rank: u32, pixels: u32, channels_last: u32 }
@group(0) @binding(3) var<uniform> sizes: Sizes;

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let column = id.x;
  if (column >= sizes.columns) { return; }
  for (var row = id.y; row < sizes.rows; row += groups.y) {
    var sum = 0f;
    for (var i = 0u; i < sizes.rank; i++) { sum += b[row * sizes.rank + i] * a[i * sizes.columns + column]; }
    var at = row * sizes.columns + column;
    if (sizes.channels_last == 1u) {
      let channels = sizes.columns / sizes.pixels;
      at = ((column % sizes.pixels) * channels + column / sizes.pixels) * sizes.rows + row;
    }
    weight[at] = ${type}(f32(weight[at]) + sum);
  }
}
`
}
