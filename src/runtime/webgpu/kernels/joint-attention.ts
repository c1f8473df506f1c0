/**
 * MultiHeadAttention as one dispatch. onnxruntime first copies keys and values into a cache ordered by heads, which its flash attention
 * reads. Here attention reads them where they are, [batch, keys, heads, size], and nothing is copied. Nothing else reads the copies,
 * since no graph of this library has outputs for a cache. The queries' Concat and the result's Split are parts of the same dispatch where
 * an attention joins picture and prompt (attention-parts.ts): nothing else reads these values (models/joint-steps.test.ts). Two kernels:
 * onnxruntime's flash attention with other addresses, and {@link fewQueries} for fewer than 32 queries. For so few queries, onnxruntime
 * has two kernels, with scores and partial sums in buffers between them.
 */

import { bufferAt, overlap, type Dispatch, type Match, type Sequence } from './dispatch.js'
import { joinsQueries, partBindings, partsText, splitsQueries, type AttentionSize } from './attention-parts.js'
import { applyEdits, type Edit } from './kernel-edit.js'

/** The most keys for which {@link fewQueries} has space: their scores are in workgroup memory. */
const mostKeys = 1024

/**
 * The inputs are vectors of 4 values: q [batch, queries, heads, size / 4], k and v [batch, keys, heads, size / 4]; the output has q's
 * shape. A workgroup of 64 threads computes one query of one head. Each thread computes every 64th score, in float32. Then the workgroup
 * computes 16 vectors of the result at a time; 4 threads together compute one vector. Most time goes into reading keys and values, once
 * for each query, from the GPU's caches.
 */
function fewQueries(type: string): string {
  return `${type.includes('f16') ? 'enable f16;\n' : ''}const threads = 64u;
const columns = 16u;
@group(0) @binding(0) var<storage, read> q: array<${type}>;
@group(0) @binding(1) var<storage, read> k: array<${type}>;
@group(0) @binding(2) var<storage, read> v: array<${type}>;
@group(0) @binding(3) var<storage, read_write> output: array<${type}>;
// The beginning of the uniforms of onnxruntime's FlashAttentionDecodeQKV.
struct Uniforms {
  head_size_vec: u32,
  total_sequence_length: u32,
  alpha: f32
};
@group(0) @binding(4) var<uniform> uniforms: Uniforms;

var<workgroup> scores: array<f32, ${mostKeys}>;
var<workgroup> reduced: array<f32, threads>;
var<workgroup> parts: array<vec4<f32>, threads>;

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let size = uniforms.head_size_vec;
  let keys = uniforms.total_sequence_length;
  let row = groups.y * size;
  let query = (group.z * groups.x + group.x) * row + group.y * size;
  let first = group.z * keys * row + group.y * size;

  var most = -3.4028234663852886e+38f;
  for (var key = thread; key < keys; key += threads) {
    var score = 0f;
    for (var i = 0u; i < size; i++) {
      score += dot(vec4<f32>(q[query + i]), vec4<f32>(k[first + key * row + i]));
    }
    scores[key] = score * uniforms.alpha;
    most = max(most, scores[key]);
  }
  reduced[thread] = most;
  workgroupBarrier();
  for (var half = threads / 2; half > 0; half /= 2) {
    if (thread < half) { reduced[thread] = max(reduced[thread], reduced[thread + half]); }
    workgroupBarrier();
  }
  most = reduced[0];
  workgroupBarrier();

  var sum = 0f;
  for (var key = thread; key < keys; key += threads) {
    scores[key] = exp(scores[key] - most);
    sum += scores[key];
  }
  reduced[thread] = sum;
  workgroupBarrier();
  for (var half = threads / 2; half > 0; half /= 2) {
    if (thread < half) { reduced[thread] += reduced[thread + half]; }
    workgroupBarrier();
  }
  sum = reduced[0];

  for (var start = 0u; start < size; start += columns) {
    let column = start + thread % columns;
    var part = vec4<f32>(0);
    if (column < size) {
      for (var key = thread / columns; key < keys; key += threads / columns) {
        part += scores[key] * vec4<f32>(v[first + key * row + column]);
      }
    }
    parts[thread] = part;
    workgroupBarrier();
    if (thread < columns && column < size) {
      let total = parts[thread] + parts[thread + columns] + parts[thread + 2 * columns] + parts[thread + 3 * columns];
      output[query + column] = ${type}(total / sum);
    }
    workgroupBarrier();
  }
}
`
}

/** The two edits of a loop that reads keys or values. */
function readInPlace(start: string, present: string): readonly Edit[] {
  return [
    {
      find: new RegExp(
        `let offset = batch_head_idx / uniforms\\.n_reps \\* uniforms\\.present_sequence_length \\* head_size_vec \\+\\s+${start} \\* head_size_vec;`,
        'g',
      ),
      by: `let offset = ((batch_head_idx / num_heads * uniforms.present_sequence_length + ${start}) * num_heads + batch_head_idx % num_heads) * head_size_vec;`,
    },
    {
      find: new RegExp(`${present}\\[offset \\+ idx\\]`, 'g'),
      by: `${present}[offset + slot * num_heads * head_size_vec + idx % head_size_vec]`,
    },
  ]
}

const flash = {
  label: 'FlashAttention',
  bindings: [
    ['q', 'present_key', 'present_value', 'output'],
    ['q', 'present_key', 'present_value', 'attention_bias', 'output'],
  ],
  constants: ['head_size', 'num_heads', 'head_size_vec'],
  edits: [...readInPlace('k_start', 'present_key'), ...readInPlace('v_start', 'present_value')],
}

const texts = new Map<string, string | undefined>()

function flashText(code: string, isJoined: boolean, isSplit: boolean): string | undefined {
  const key = `${isJoined} ${isSplit} ${code}`
  if (!texts.has(key)) {
    const inPlace = applyEdits(code, flash)
    texts.set(key, inPlace && (isJoined || isSplit ? partsText(inPlace, flash, isJoined, isSplit) : inPlace))
  }
  return texts.get(key)
}

/**
 * The sizes of the keys that a dispatch copies, [batch, keys, heads, size] in vectors; undefined if its source has another order, or if it
 * copies something else.
 */
function copied({
  kernel,
  uniforms,
}: Dispatch): { readonly batch: number; readonly keys: number; readonly heads: number; readonly size: number } | undefined {
  if (kernel.label !== 'CopyKVCache' || kernel.bindings !== 'key,value,present_key,present_value') return undefined
  const [batch = 0, keys = 0, heads = 0, size = 0, ...strides] = uniforms?.words ?? []
  const isInPlace = strides.slice(0, 3).join() === [keys * heads * size, heads * size, size].join()
  return isInPlace ? { batch, keys, heads, size } : undefined
}

/** Whether `attention` reads what `copy` wrote. */
function isReader(copy: Dispatch, attention: Dispatch): boolean {
  return bufferAt(copy, 2) === bufferAt(attention, 1) && bufferAt(copy, 3) === bufferAt(attention, 2)
}

/**
 * Matches the dispatches of one attention: the copy of keys and values, the kernel that reads the copy, the Concat of queries before them,
 * and the Split of the result after them. The Concat and the Split may be missing.
 */
export const jointAttention: Sequence = (held) => {
  const joined = held[0]?.kernel.label === 'Concat' ? held[0] : undefined
  const [copy, attention, next, ...beyond] = joined === undefined ? held : held.slice(1)
  if (joined !== undefined && copy === undefined) return { open: true }
  const shape = copy === undefined ? undefined : copied(copy)
  if (copy === undefined || shape === undefined || beyond.length > 0) return undefined
  if (attention === undefined) return { open: true }
  const { label } = attention.kernel
  if (!isReader(copy, attention) || attention.uniforms === undefined) return undefined
  if (label === 'FlashAttention') return withFlash({ joined, copy, attention, split: next }, shape)
  if (label !== 'FlashAttentionDecodeQKV' || joined !== undefined) return undefined
  return withFewQueries(copy, attention, next, shape)
}

/** The dispatches of one attention. */
interface Parts {
  readonly joined: Dispatch | undefined
  readonly copy: Dispatch
  readonly attention: Dispatch
  readonly split: Dispatch | undefined
}

function withFlash(
  { joined, copy, attention, split }: Parts,
  { batch, keys, heads, size: vectors }: NonNullable<ReturnType<typeof copied>>,
): Match | undefined {
  const [queries = 0, total, present, , repeats] = attention.uniforms?.words ?? []
  const type = /var<storage, read> q: array<vec4<(f(?:16|32))>>;/.exec(attention.kernel.code)?.[1]
  const code = flashText(attention.kernel.code, joined !== undefined, split !== undefined)
  if (total !== keys || present !== keys || repeats !== 1 || code === undefined || type === undefined) return undefined
  const size: AttentionSize = { batch, queries, vectors: heads * vectors, type }
  const [own, , , ...rest] = attention.storage
  const [key, value] = copy.storage
  const query = joined?.storage[0] ?? own
  const result = rest.at(-1)
  const uniforms = attention.uniforms?.binding
  if (query === undefined || key === undefined || value === undefined || result === undefined || uniforms === undefined)
    return undefined
  if (joined !== undefined && (bufferAt(joined, 2) !== own?.buffer || !joinsQueries(joined, size))) return undefined
  if (split !== undefined && (bufferAt(split, 0) !== result.buffer || !splitsQueries(split, size))) return undefined
  const open = split === undefined
  const output = split?.storage[1] ?? result
  const inputs = [query, key, value, ...rest.slice(0, -1)]
  const parts = partBindings(joined, split)
  const written = [output, split?.storage[2]].filter((binding) => binding !== undefined)
  const read = [...inputs, joined?.storage[1]].filter((binding) => binding !== undefined)
  // This kernel replaces the Concat, so nothing writes the joined queries. No other input may be read from their buffer.
  if (overlap(read, written) || read.some(({ buffer }) => buffer === joined?.storage[2]?.buffer)) return { open }
  const omitted = [joined?.storage[2]?.buffer, split === undefined ? undefined : result.buffer].filter(
    (buffer): buffer is GPUBuffer => buffer !== undefined && !written.some((binding) => binding.buffer === buffer),
  )
  const label = joined === undefined && split === undefined ? 'FlashAttention in place' : 'FlashAttention of two parts'
  return {
    open,
    launch: { label, code, bindings: [...inputs, output, uniforms, ...parts], grid: attention.grid, omitted },
  }
}

function withFewQueries(
  copy: Dispatch,
  scores: Dispatch,
  reduction: Dispatch | undefined,
  { batch, keys, heads }: { readonly batch: number; readonly keys: number; readonly heads: number },
): Match | undefined {
  const { words, binding } = scores.uniforms ?? {}
  const [, total, , present, repeats, , ownHeads, ownBatch] = words ?? []
  const queries = words?.[11]
  const isKnown = scores.kernel.bindings === 'q,present_key,present_value,out_split_vx,metadata' && keys <= mostKeys
  if (!isKnown || [total, present, repeats, ownHeads, ownBatch].join() !== [keys, keys, 1, heads, batch].join()) return undefined
  if (reduction === undefined) return { open: true }
  if (reduction.kernel.label !== 'FlashAttentionDecodeVxReduce' || reduction.kernel.bindings !== 'input,metadata,output')
    return undefined
  if (bufferAt(scores, 3) !== bufferAt(reduction, 0) || bufferAt(scores, 4) !== bufferAt(reduction, 1)) return undefined
  const type = /var<storage, read> q: array<(vec4<f(?:16|32)>)>;/.exec(scores.kernel.code)?.[1]
  const [query] = scores.storage
  const [key, value] = copy.storage
  const output = reduction.storage[2]
  if (type === undefined || queries === undefined || binding === undefined) return undefined
  if (query === undefined || key === undefined || value === undefined || output === undefined) return undefined
  if (overlap([query, key, value], [output])) return undefined
  const bindings = [query, key, value, output, binding]
  return {
    open: false,
    launch: { label: 'Attention of few queries', code: fewQueries(type), bindings, grid: [queries, heads, batch] },
  }
}
