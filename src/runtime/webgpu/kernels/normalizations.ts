/**
 * Normalizations, Softmax, Gelu and GEGLU of onnxruntime 1.30.0 with float32 between their inputs and their result. These kernels are
 * memory-bound, so the float32 arithmetic costs no time. onnxruntime computes statistics in float32, too (except for
 * Softmax), but it computes each result by several float16 operations, and each of these rounds.
 */

import { sumType, type Edit, type KernelEdits } from './kernel-edit.js'

/** Changes the WGSL alias of the type for arithmetic from f16 to f32, and declares `stored_t` for the type in memory. */
function computeIn32(alias: string): Edit {
  return {
    find: new RegExp(`^alias ${alias} = (vec\\d<)?f16(>)?;$`, 'gm'),
    by: `alias stored_t = $1f16$2;\nalias ${alias} = $1f32$2;`,
  }
}

/** The edits of an element-wise kernel, in which each of a workgroup's 64 threads computes 4 elements. */
function elementwise(label: string, alias: 'x_value_t' | 'x_element_t', result: RegExp): KernelEdits {
  return {
    label,
    bindings: [['x', 'y']],
    edits: [
      { find: new RegExp(`^alias ${alias} = (?:vec4<)?f16>?;$`, 'gm'), by: (match) => match.replace('f16', 'f32') },
      { find: /let a = x\[global_idx\];/g, by: 'let a = vec4<f32>(x[global_idx]);' },
      { find: result, by: 'y[global_idx]=vec4<f16>($1);' },
    ],
  }
}

/** The edits of all these kernels. */
export const normalizations: readonly KernelEdits[] = [
  elementwise('QuickGelu', 'x_element_t', /y\[global_idx\]=(quick_gelu_v\(a\));/g),
  elementwise(
    'Gelu',
    'x_value_t',
    /y\[global_idx\]=(0\.5 \* a \* \(1\.0 \+ erf_v\(.+\)\)|a \* \(0\.5 \+ 0\.5 \* tanh_v\(.+\)\));/g,
  ),
  {
    // In onnxruntime, each thread computes 4 elements of the result.
    label: 'BiasSplitGelu',
    bindings: [['x', 'bias', 'output']],
    edits: [
      computeIn32('x_value_t'),
      {
        find: /= (x\[inputOffset(?: \+ halfChannels)?\]) \+ (bias\[[^\]]+\]);/g,
        by: '= x_value_t($1) + x_value_t($2);',
        times: 2,
      },
      { find: /output\[global_idx\]=valueLeft \* geluRight;/g, by: 'output[global_idx]=stored_t(valueLeft * geluRight);' },
    ],
  },
  {
    // onnxruntime runs a workgroup for each row.
    label: 'Softmax',
    bindings: [['x', 'result']],
    edits: [
      computeIn32('x_value_t'),
      { find: /^alias x_element_t = f16;$/gm, by: 'alias x_element_t = f32;' },
      { find: /x_element_t\(-65504\.0h\)/g, by: 'x_element_t(-3.4028234663852886e+38f)' },
      { find: /return x\[index\];/g, by: 'return x_value_t(x[index]);' },
      { find: /result\[index\] = value;/g, by: 'result[index] = stored_t(value);' },
    ],
  },
  {
    // onnxruntime runs a workgroup for each row, also for SimplifiedLayerNormalization, which has no mean and no bias.
    label: 'LayerNorm',
    bindings: [
      ['x', 'scale', 'bias', 'y'],
      ['x', 'scale', 'y'],
    ],
    edits: [
      { find: /^alias f32_val_t = (?:vec\d<)?f32>?;$/gm, by: '$&' },
      {
        find: /y\[offset \+ i\] = \(y\[offset \+ i\]( - x_element_t\(mean\))? \) \* x_element_t\(inv_std_dev\) \* scale\[offset1d \+ i\]( \+ bias\[offset1d \+ i\])? ?;/g,
        by: (_, mean, bias) => {
          const centred = `(f32_val_t(x[offset + i])${mean === undefined ? '' : ' - mean'}) * inv_std_dev`
          const shift = bias === undefined ? '' : ' + f32_val_t(bias[offset1d + i])'
          return `y[offset + i] = x_value_t(${centred} * f32_val_t(scale[offset1d + i])${shift});`
        },
      },
    ],
  },
  {
    // onnxruntime runs a workgroup for each row. The sum is rounded to float16 once, and the rounded sum is normalized.
    label: 'SkipLayerNorm',
    bindings: [['x', 'skip', 'gamma', 'beta', 'output', 'input_skip_bias_sum']],
    edits: [
      { find: /^alias f32_val_t = (?:vec\d<)?f32>?;$/gm, by: '$&' },
      {
        find: /output\[offset \+ i\] = \(output\[offset \+ i\] - x_element_t\(mean\) ?\) \* x_element_t\(inv_std_dev\) \* gamma\[offset1d \+ i\] \+ beta\[offset1d \+ i\] ?;/g,
        by: 'output[offset + i] = x_value_t((f32_val_t(output[offset + i]) - mean) * inv_std_dev * f32_val_t(gamma[offset1d + i]) + f32_val_t(beta[offset1d + i]));',
      },
    ],
  },
  {
    // onnxruntime runs a workgroup for each channel of InstanceNormalization. The edits make `output` float32, because NormStatistics
    // (norm-statistics.ts) binds a float32 buffer to it.
    label: 'ComputeChannelScaleShift',
    bindings: [['x', 'scale', 'bias', 'output']],
    edits: [
      { find: /output: array<vec2<f16>>;/g, by: 'output: array<vec2<f32>>;' },
      { find: /^alias output_value_t = vec2<f16>;$/gm, by: 'alias output_value_t = vec2<f32>;' },
      { find: /^alias output_element_t = f16;$/gm, by: 'alias output_element_t = f32;' },
    ],
  },
  {
    // In onnxruntime, each thread computes 1, 2 or 4 elements. The edits make `channel_scale_shift` float32, because NormStatistics
    // (norm-statistics.ts) binds to it the float32 buffer that ComputeChannelScaleShift has filled.
    label: 'InstanceNorm',
    bindings: [['input', 'channel_scale_shift', 'output']],
    edits: [
      sumType('output_value_t'),
      { find: /channel_scale_shift: array<vec2<f16>>;/g, by: 'channel_scale_shift: array<vec2<f32>>;' },
      {
        find: /^(fn get_channel_scale_shift_by_indices\(.+\)->)vec2<f16> \{$/gm,
        by: '$1vec2<f32> {',
      },
      {
        find: /= input_value \* output_value_t\(channel_scale_shift\.x\) \+ output_value_t\(channel_scale_shift\.y\);/g,
        by: '= output_value_t(sum_t(input_value) * channel_scale_shift.x + channel_scale_shift.y);',
      },
    ],
  },
]
