/**
 * MatMulNBits of onnxruntime 1.30.0 with dequantized weights and sums in float32.
 *
 * `MatMulNBitsWideTile`: a workgroup of 128 threads computes 32 rows × 128 columns, each thread one column of 32 results; the left
 * operand passes through workgroup memory in blocks of 32 values. `MatMulNBits`, for few rows: 128 threads compute 8 results of one row,
 * each from 32 partial sums in workgroup memory. Both read each weight once for each tile of rows; with few rows, these reads take most
 * of the time. onnxruntime dequantizes and sums in float16: its `output_element_t` is the type of all arithmetic. Here it is float32, and
 * activations, scales and results are converted where they are read and stored.
 */

import type { Edit, KernelEdits } from './kernel-edit.js'

const float32: Edit = { find: /^alias output_element_t = f16;$/gm, by: 'alias output_element_t = f32;' }

function withZeroPoints(names: readonly string[]): readonly (readonly string[])[] {
  return [
    [...names, 'output'],
    [...names, 'zero_points', 'output'],
  ]
}

/** The edits of both kernels. */
export const quantizedProducts: readonly KernelEdits[] = [
  {
    label: 'MatMulNBits',
    bindings: withZeroPoints(['input_a', 'input_b', 'scales_b']),
    edits: [
      float32,
      { find: /let scale_b = (scales_b\[[^\]]+\]);/g, by: 'let scale_b = f32($1);' },
      { find: /dot\((tile_A\[[^\]]+\]), (\w+)\)/g, by: 'dot(vec4<f32>($1), $2)', times: [1, 2] },
      { find: /output\[output_idx\]=output_value;/g, by: 'output[output_idx]=f16(output_value);' },
    ],
  },
  {
    label: 'MatMulNBitsWideTile',
    bindings: withZeroPoints(['input_a', 'input_b', 'scales']),
    constants: ['kTileM', 'kTileN'],
    edits: [
      float32,
      { find: /return scales\[offset\];/g, by: 'return f32(scales[offset]);' },
      {
        find: /dot\(a\[0\], b_dequantized\[0\]\) \+ dot\(a\[1\], b_dequantized\[1\]\)/g,
        by: 'dot(vec4<f32>(a[0]), b_dequantized[0]) + dot(vec4<f32>(a[1]), b_dequantized[1])',
      },
      { find: /output\[offset\]=value;/g, by: 'output[offset]=output_value_t(value);' },
    ],
  },
]
