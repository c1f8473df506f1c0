/**
 * A weighted sum of float32 tensors on a GPU, in one small shader. Guidance, a scheduler's step and the copy of latents for both halves of
 * guidance all have this form, so the denoising loop reads nothing back.
 */

import type { GpuBuffers } from './gpu-buffers.js'

/** One summand: elements `(offset + i) mod length` of a buffer of `length` float32 values, times `scale`. */
export interface GpuTerm {
  readonly buffer: GPUBuffer
  readonly length: number
  readonly scale: number
  readonly offset: number
}

const workgroupSize = 64
/** Workgroups in a row of the grid: the limit that WebGPU guarantees. */
const rowOfGroups = 65_535

export class GpuCombine {
  readonly #device: GPUDevice
  readonly #buffers: GpuBuffers
  /** Pipelines by the number of terms and by whether the sum is bounded. */
  readonly #pipelines = new Map<string, GPUComputePipeline>()

  constructor(device: GPUDevice, buffers: GpuBuffers) {
    this.#device = device
    this.#buffers = buffers
  }

  /** A buffer of `count` float32 values: the sum of `terms`, 1 to {@link mostTerms} of them, clamped to [-bound, bound]. */
  run(terms: readonly GpuTerm[], count: number, owner: string, bound?: number): GPUBuffer {
    const device = this.#device
    const pipeline = this.#pipelineFor(terms.length, bound !== undefined)
    const result = this.#buffers.createActivations(owner, count * 4)
    const groups = Math.ceil(count / workgroupSize)
    const columns = Math.min(groups, rowOfGroups)
    const parameters = this.#buffers.createUniforms(owner, describe(terms, count, columns * workgroupSize, bound))
    const entries = [parameters, result, ...terms.map(({ buffer }) => buffer)].map((buffer, binding) => ({
      binding,
      resource: { buffer },
    }))
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(columns, Math.ceil(groups / columns))
    pass.end()
    device.queue.submit([encoder.finish()])
    parameters.destroy()
    return result
  }

  /** Compiles the shaders for sums of 1 to 5 terms, which guidance and most schedulers need. */
  compile(): void {
    for (const terms of [1, 2, 3, 4, 5]) this.#pipelineFor(terms, false)
  }

  #pipelineFor(terms: number, bounded: boolean): GPUComputePipeline {
    const key = `combine ${terms}${bounded ? ' bounded' : ''}`
    let pipeline = this.#pipelines.get(key)
    if (pipeline === undefined) {
      const module = this.#device.createShaderModule({ label: key, code: shader(terms, bounded) })
      pipeline = this.#device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
      this.#pipelines.set(key, pipeline)
    }
    return pipeline
  }
}

/** The shader's parameters: count, values in a row of the grid, bound, one unused, then scale, offset, length and one unused for each term. */
function describe(terms: readonly GpuTerm[], count: number, row: number, bound = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16 + 16 * terms.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, count, true)
  view.setUint32(4, row, true)
  view.setFloat32(8, bound, true)
  for (const [index, { scale, offset, length }] of terms.entries()) {
    view.setFloat32(16 + 16 * index, scale, true)
    view.setUint32(20 + 16 * index, offset, true)
    view.setUint32(24 + 16 * index, length, true)
  }
  return bytes
}

function shader(terms: number, bounded: boolean): string {
  const all = Array.from({ length: terms }, (_, index) => index)
  return `
struct Term { scale: f32, offset: u32, length: u32, unused: u32 }
struct Parameters { count: u32, row: u32, bound: f32, unused: u32, terms: array<Term, ${terms}> }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;
${all.map((index) => `@group(0) @binding(${index + 2}) var<storage, read> term${index}: array<f32>;`).join('\n')}
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * parameters.row + id.x;
  if (i >= parameters.count) { return; }
  var sum = 0.0;
${all.map((index) => `  sum += parameters.terms[${index}].scale * term${index}[(parameters.terms[${index}].offset + i) % parameters.terms[${index}].length];`).join('\n')}
  result[i] = ${bounded ? 'clamp(sum, -parameters.bound, parameters.bound)' : 'sum'};
}`
}
