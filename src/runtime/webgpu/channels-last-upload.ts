/**
 * Uploads weights of convolutions in the order that the device's kernels read (kernels/channels-last-weights.ts): the queue writes pieces
 * of the weight, in the checkpoint's order, into a small buffer, and a kernel moves each value to its place.
 */

import { elementBytes } from '../../checkpoint/element-types.js'
import type { WeightKey } from '../../memory/needs.js'
import type { ElementType } from '../../onnx/types.js'
import type { GpuBuffers } from './gpu-buffers.js'
import { channelsLastWeights } from './kernels/dispatch-stream.js'
import { openUploadBuffers, UploadKernel, workgroupSize } from './upload-kernel.js'

/** The limits on the bytes that one call of the kernel moves. With fewer than `least`, a call costs more than it is worth. */
const stagingBytes = { most: 2 ** 18, least: 2 ** 12 } as const
/**
 * An upload cuts its largest weight into about this many pieces, within the limits of {@link stagingBytes}, so that the staging buffer is
 * much smaller than the weight.
 */
const pieces = 16

/** The functions through which one upload writes. */
export interface ChannelsLastWriter {
  /** Moves bytes of a weight to their places in its buffer. `byteOffset`: where they begin in the checkpoint's order. */
  write(buffer: GPUBuffer, weight: WeightKey, byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void
  /** Call when all bytes of the weight have been written into its buffer. */
  finish(buffer: GPUBuffer, weight: WeightKey): void
  destroy(): void
}

/** Opens the writers of one device, and has the kernel that they share. */
export class ChannelsLastUpload {
  readonly #device: GPUDevice
  readonly #buffers: GpuBuffers
  readonly #kernel: UploadKernel

  constructor(device: GPUDevice, buffers: GpuBuffers) {
    this.#device = device
    this.#buffers = buffers
    this.#kernel = new UploadKernel(device, buffers, 'ToChannelsLast', textOf)
  }

  /** Compiles the kernel for values of a type. */
  compile(type: ElementType): void {
    this.#kernel.compile(type)
  }

  /**
   * Makes the buffers to upload those of the weights that have `channelsLast`; undefined if none has. @throws DeviceError `out-of-memory`
   */
  async open(owner: string, wanted: readonly WeightKey[]): Promise<ChannelsLastWriter | undefined> {
    const most = Math.max(0, ...wanted.map(({ bytes, channelsLast }) => (channelsLast === undefined ? 0 : bytes)))
    if (most === 0) return undefined
    // A multiple of 16, and so of 4: the queue writes units of 4 bytes.
    const step = 16 * Math.ceil(Math.min(stagingBytes.most, Math.max(stagingBytes.least, most / pieces)) / 16)
    const { storage, sizes, destroy } = await openUploadBuffers(this.#buffers, owner, [Math.min(most, step)])
    const [staging] = storage
    if (staging === undefined) throw new TypeError('The buffer that was requested is missing.')
    return {
      write: (buffer, weight, byteOffset, bytes) => {
        for (let at = 0; at < bytes.byteLength; at += step)
          this.#move(staging, sizes, buffer, weight, byteOffset + at, bytes.subarray(at, at + step))
      },
      finish: (buffer, { channelsLast }) => {
        if (channelsLast !== undefined) channelsLastWeights(this.#device)?.add(buffer, channelsLast)
      },
      destroy,
    }
  }

  #move(
    staging: GPUBuffer,
    sizes: GPUBuffer,
    buffer: GPUBuffer,
    { type, channelsLast = [] }: WeightKey,
    byteOffset: number,
    bytes: Uint8Array<ArrayBuffer>,
  ): void {
    const count = bytes.byteLength / elementBytes[type]
    const [outputs = 0, inputs = 0, rows = 0, columns = 0] = channelsLast
    this.#buffers.write(staging, 0, bytes)
    const first = byteOffset / elementBytes[type]
    this.#device.queue.writeBuffer(sizes, 0, Uint32Array.of(first, count, outputs, inputs, rows * columns))
    this.#kernel.run(type, [staging, buffer, sizes], Math.ceil(count / workgroupSize))
  }
}

/** WGSL of the kernel: each thread moves one value, and neighbouring threads read neighbours in `piece`. Memory writes limit its speed. */
function textOf(type: string): string {
  return `@group(0) @binding(0) var<storage, read> piece: array<${type}>;
@group(0) @binding(1) var<storage, read_write> weight: array<${type}>;
// A piece of a weight [outputs, inputs, pixels]: \`count\` values from index \`first\` on.
struct Sizes { first: u32, count: u32, outputs: u32, inputs: u32, pixels: u32 }
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(${workgroupSize})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= sizes.count) { return; }
  let at = sizes.first + id.x;
  let pixel = at % sizes.pixels;
  let row = at / sizes.pixels;
  weight[(pixel * sizes.inputs + row % sizes.inputs) * sizes.outputs + row / sizes.inputs] = piece[id.x];
}
`
}
