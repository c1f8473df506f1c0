/**
 * MultiHeadAttention and RotaryEmbedding of onnxruntime 1.30.0 with float32 between their inputs and their result. `FlashAttention`: each
 * of a workgroup's 64 threads computes one query's row, over 32 keys at a time that the workgroup loads together; scores and softmax are
 * float32 in onnxruntime, but the scaled query, the probabilities and the sum of values are float16. `FlashAttentionDecodeQKV` and
 * `…VxReduce`, for few queries: workgroups compute parts of 64 keys, which the second kernel adds. Most time goes into the products of
 * queries with keys and of probabilities with values. In the changed kernels, all of these values are float32, except values in buffers
 * between two kernels. onnxruntime has other kernels for head sizes that are not a multiple of 4, with scores and probabilities in float16
 * buffers. No graph of this library uses them: `multiHeadAttention` pads such heads with zeros.
 */

import { sumType, type KernelEdits } from './kernel-edit.js'

function withBias(before: readonly string[], after: readonly string[]): readonly (readonly string[])[] {
  return [
    [...before, ...after],
    [...before, 'attention_bias', ...after],
  ]
}

/** The edits of all attention kernels. */
export const attentions: readonly KernelEdits[] = [
  {
    label: 'FlashAttention',
    bindings: withBias(['q', 'present_key', 'present_value'], ['output']),
    constants: ['head_size', 'num_heads', 'max_k_step', 'vec_factor'],
    edits: [
      { find: /alias qk_precision = f32;/g, by: '$&' },
      {
        find: /var<private> (q_tile|o_tile) : array<q_value_t, head_size_vec>;/g,
        by: 'var<private> $1 : array<vec4<f32>, head_size_vec>;',
        times: 2,
      },
      { find: /head_idx : u32, alpha : q_element_t\)/g, by: 'head_idx : u32, alpha : f32)' },
      { find: /q_tile\[idx\] = (q\[idx \+ offset\]) \* alpha;/g, by: 'q_tile[idx] = vec4<f32>($1) * alpha;' },
      { find: /q_element_t\(uniforms\.alpha\)/g, by: 'uniforms.alpha' },
      { find: /let o_ratio = q_element_t\(dleft \/ d\);/g, by: 'let o_ratio = dleft / d;' },
      { find: /var acc = q_value_t\(0\);/g, by: 'var acc = vec4<f32>(0);' },
      {
        find: /acc \+= (v_tile\[k\]\[i\]) \* q_element_t\((qk_scores\[k\])\);/g,
        by: 'acc += vec4<f32>($1) * $2;',
      },
      { find: /o_tile\[i\] = o_tile\[i\] \* q_element_t\(o_ratio\) \+ acc;/g, by: 'o_tile[i] = o_tile[i] * o_ratio + acc;' },
      { find: /output\[offset \+ idx\] = o_tile\[idx\];/g, by: 'output[offset + idx] = q_value_t(o_tile[idx]);' },
    ],
  },
  {
    label: 'FlashAttentionDecodeQKV',
    bindings: withBias(['q', 'present_key', 'present_value'], ['out_split_vx', 'metadata']),
    edits: [
      { find: /(var<workgroup> tile_output: array<array<)q_value_t,/g, by: '$1vec4<f32>,' },
      { find: /(var<workgroup> qkv_values: array<array<array<)q_value_t,/g, by: '$1vec4<f32>,' },
      {
        find: /let q_data = (tile_q\[m\]\[local_col\]) \* q_element_t\(uniforms\.alpha\);/g,
        by: 'let q_data = vec4<f32>($1) * uniforms.alpha;',
      },
      {
        find: /qkv_values\[m\]\[local_row\]\[local_col\] = q_value_t\(0\);/g,
        by: 'qkv_values[m][local_row][local_col] = vec4<f32>(0);',
      },
      { find: /v_data \* q_element_t\((tile_qk\[[^;]+\])\);/g, by: 'vec4<f32>(v_data) * $1;' },
      { find: /=tile_output\[m\]\[i\];/g, by: '=q_value_t(tile_output[m][i]);' },
    ],
  },
  {
    label: 'FlashAttentionDecodeVxReduce',
    bindings: [['input', 'metadata', 'output']],
    edits: [
      sumType('output_value_t'),
      { find: /(var<workgroup> tile_input: array<array<)output_value_t,/g, by: '$1sum_t,' },
      { find: /(\bvalue = )output_value_t\(0\);/g, by: '$1sum_t(0);', times: 2 },
      {
        find: /value \+= (input\[[^\]]+\]) \* output_value_t\(output_element_t\(rescale_f32\)\);/g,
        by: 'value += sum_t($1) * rescale_f32;',
      },
      { find: /output\[output_id\]=value;/g, by: 'output[output_id]=output_value_t(value);' },
    ],
  },
  {
    // onnxruntime runs one thread for each pair of values that are rotated together. The kernel spends its time on memory accesses.
    label: 'RotaryEmbedding',
    bindings: [['input', 'position_ids', 'cos_cache', 'sin_cache', 'output']],
    edits: [
      {
        find: /(input\[[ij]\]) \* (get_(?:cos|sin)_cache_by_indices\(vec2<u32>\(position_id, bsnh\[3\]\)\))/g,
        by: 'f32($1) * f32($2)',
        times: 4,
      },
      { find: /(output\[[ij]\])=(re|im);/g, by: '$1=f16($2);', times: 2 },
    ],
  },
]
