/**
 * Moves the Concat before and the Split after a joint attention over image and prompt (SD3, FLUX, Chroma) into the attention's kernel,
 * which then reads the queries from two tensors and writes its result to two tensors. Keys and values are still joined by Concat, because
 * onnxruntime joins them earlier and reuses the buffers of their parts before the attention runs.
 */

import type { Dispatch } from './dispatch.js'
import { applyEdits, type Edit, type KernelEdits } from './kernel-edit.js'

/** The size of an attention's queries. `vectors`: how many vectors of 4 numbers a token has. */
export interface AttentionSize {
  readonly batch: number
  readonly queries: number
  readonly vectors: number
  /** `f16` or `f32`. */
  readonly type: string
}

/** Whether a dispatch joins two tensors [batch, tokens, channels] into the queries [batch, queries, channels]. */
export function joinsQueries({ kernel, uniforms }: Dispatch, { batch, queries, vectors, type }: AttentionSize): boolean {
  // The uniforms begin with the shape of the first tensor, its strides, and the shape of the second one.
  const [rows, first = 0, columns, , , , , , otherRows, second = 0, otherColumns] = uniforms?.words ?? []
  return (
    kernel.label === 'Concat' &&
    kernel.bindings === 'input_0,input_1,output' &&
    kernel.code.includes(`input_0: array<${type}>;`) &&
    kernel.code.includes('input_0_shape: vec3<u32>,\n  input_0_stride: vec2<u32>,\n  input_1_shape: vec3<u32>,') &&
    kernel.code.includes('output_indices[1] += uniforms.sizes_in_concat_axis[1];') &&
    [rows, columns, otherRows, otherColumns].join() === [batch, 4 * vectors, batch, 4 * vectors].join() &&
    first + second === queries
  )
}

/** Whether a dispatch divides the result of an attention [batch, queries, channels] into two along the queries. */
export function splitsQueries({ kernel, uniforms }: Dispatch, { batch, queries, vectors, type }: AttentionSize): boolean {
  const [count, total, first = 0, second = 0] = uniforms?.words ?? []
  return (
    kernel.label === 'Split' &&
    kernel.bindings === 'input,output_0,output_1' &&
    kernel.code.includes(`input: array<vec4<${type}>>;`) &&
    kernel.code.includes('total_segment_elements: u32,\n  segment_sizes: vec2<u32>') &&
    total === queries * vectors &&
    count === batch * total &&
    first + second === total
  )
}

/** The additional bindings, in order, of a kernel with {@link partsText}. */
export function partBindings(joined: Dispatch | undefined, split: Dispatch | undefined): readonly GPUBufferBinding[] {
  return [joined?.storage[1], joined?.uniforms?.binding, split?.storage[2], split?.uniforms?.binding].filter(
    (binding) => binding !== undefined,
  )
}

/**
 * The text of joint-attention.ts's flash attention, changed to read the queries from two tensors (`isJoined`) and to write the result to
 * two tensors (`isSplit`). `q` and `output` are the first of the two. Undefined if the text has an unknown form.
 */
export function partsText(
  code: string,
  { bindings, constants = [] }: KernelEdits,
  isJoined: boolean,
  isSplit: boolean,
): string | undefined {
  const [, last] = /^@group\(0\) @binding\((\d)\) var<uniform> uniforms: Uniforms;$/m.exec(code) ?? []
  const [, array] = /var<storage, read_write> output: (array<vec4<f\d\d>>);/.exec(code) ?? []
  if (last === undefined || array === undefined) return undefined
  let next = Number(last) + 1
  const functions: string[] = []
  const edits: Edit[] = []
  if (isJoined) {
    functions.push(`@group(0) @binding(${next++}) var<storage, read> other_q: ${array};
// The beginning of the uniforms of onnxruntime's Concat: the shape of its first input.
struct Joined { shape: vec3<u32> };
@group(0) @binding(${next++}) var<uniform> joined: Joined;
fn query_at(at: u32) -> q_value_t {
  let of_image = uniforms.new_sequence_length * num_heads * head_size_vec;
  let first = joined.shape.y * num_heads * head_size_vec;
  let batch = at / of_image;
  let place = at % of_image;
  if (place < first) { return q[batch * first + place]; }
  return other_q[batch * (of_image - first) + place - first];
}`)
    edits.push({ find: /\bq\[idx \+ offset\]/g, by: 'query_at(idx + offset)' })
  }
  if (isSplit) {
    functions.push(`@group(0) @binding(${next++}) var<storage, read_write> other_output: ${array};
// The beginning of the uniforms of onnxruntime's Split: all vectors, those of an image, and those of its two parts.
struct Parts { all: u32, of_image: u32, sizes: vec2<u32> };
@group(0) @binding(${next++}) var<uniform> parts: Parts;
fn write(at: u32, value: q_value_t) {
  let batch = at / parts.of_image;
  let place = at % parts.of_image;
  let first = parts.sizes.x;
  if (place < first) { output[batch * first + place] = value; }
  else { other_output[batch * parts.sizes.y + place - first] = value; }
}`)
    edits.push({ find: /\boutput\[offset \+ idx\] = (.+);/g, by: 'write(offset + idx, $1);' })
  }
  edits.push({ find: /^@compute /gm, by: () => `${functions.join('\n')}\n@compute ` })
  return applyEdits(code, { label: 'FlashAttention', bindings, constants, edits })
}
