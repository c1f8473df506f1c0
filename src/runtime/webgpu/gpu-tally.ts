/**
 * Counts the zeros and the non-finite values of a float32 tensor on the GPU: only two numbers are read back, and nothing waits for the
 * tensor. The shader tests bits, because compilers may assume that a float is never NaN.
 */

import type { GpuBuffers } from './gpu-buffers.js'
import type { ValueTally } from '../health.js'

const workgroupSize = 64
/** The most workgroups: each thread counts many values, so that the two counters get only a few thousand atomic additions. */
const mostGroups = 64

export class GpuTally {
  readonly #device: GPUDevice
  readonly #buffers: GpuBuffers
  #pipeline: GPUComputePipeline | undefined

  constructor(device: GPUDevice, buffers: GpuBuffers) {
    this.#device = device
    this.#buffers = buffers
  }

  /** The kernel, compiled at the first call. */
  compile(): GPUComputePipeline {
    const device = this.#device
    this.#pipeline ??= device.createComputePipeline({
      layout: 'auto',
      compute: { module: device.createShaderModule({ label: 'tally', code: shader }), entryPoint: 'main' },
    })
    return this.#pipeline
  }

  /** Counts the first `count` values of `buffer`, as they are after the commands that were submitted so far. @throws DeviceError `device-lost`, `gpu-error` */
  async run(buffer: GPUBuffer, count: number, owner: string): Promise<ValueTally> {
    const device = this.#device
    const pipeline = this.compile()
    const groups = Math.min(mostGroups, Math.ceil(count / workgroupSize))
    const parameters = this.#buffers.createUniforms(
      owner,
      new Uint8Array(Uint32Array.of(count, groups * workgroupSize, 0, 0).buffer),
    )
    const counters = this.#buffers.createActivations(owner, 8)
    const entries = [parameters, buffer, counters].map((resource, binding) => ({ binding, resource: { buffer: resource } }))
    const encoder = device.createCommandEncoder()
    encoder.clearBuffer(counters)
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(groups)
    pass.end()
    device.queue.submit([encoder.finish()])
    parameters.destroy()
    const reading = this.#buffers.read(counters, 8)
    counters.destroy()
    const [fine = 0, bad = 0] = new Uint32Array(await reading)
    // If the GPU drops the dispatch, both counters stay 0. Then all values count as zeros, and assertSound throws `all-zero`.
    return { count, bad, zeros: count - fine - bad }
  }
}

const shader = `
struct Parameters { count: u32, threads: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> counters: array<atomic<u32>, 2>;
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(global_invocation_id) id: vec3u) {
  var fine = 0u;
  var bad = 0u;
  for (var i = id.x; i < parameters.count; i += parameters.threads) {
    let magnitude = values[i] & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) { bad++; } else if (magnitude != 0u) { fine++; }
  }
  if (fine > 0u) { atomicAdd(&counters[0], fine); }
  if (bad > 0u) { atomicAdd(&counters[1], bad); }
}`
