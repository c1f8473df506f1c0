/**
 * The variance in onnxruntime 1.30.0's normalizations, in float32 and float16. onnxruntime subtracts the square of the mean from the mean
 * of the squares, both rounded. If the mean is n times the standard deviation, the error of the variance is about n² rounding errors, and a
 * row of nearly equal values may get a negative variance, whose root is NaN. PyTorch sums squared distances from the mean. The edited
 * kernels do the same without reading the values again: each thread sums squared distances from its first value, and converts this sum to
 * distances from the mean when the mean is known.
 *
 * The edited kernel of InstanceNormalization reads its epsilon from its bias. onnxruntime writes the epsilon into the WGSL source, but
 * caches compiled kernels under a key without it, so a network with two epsilons (a UNet's resnets have 1e-5, its transformers 1e-6) would
 * compute all norms with the epsilon of the first one.
 */

import type { Edit, KernelEdits } from './kernel-edit.js'

/**
 * The epsilon that is passed as the bias is multiplied by this, because float16 has few digits for numbers as small as 1e-6, and a GPU
 * may round them to 0.
 */
export const epsilonScale = 4096

/** Matches WGSL source that computes the variance as a difference of squares. */
export const subtractsSquares = /- (?:mean \* mean|sum_final \* sum_final)\b/

/**
 * WGSL that computes the sum of squared distances of `count` values from `mean`, given the sum of their squared distances from `origin`.
 */
function moved(squares: string, sum: string, count: string): string {
  return `${squares} - 2.0 * to_mean * ${sum} + ${count} * to_mean * to_mean`
}

/** Adds up a shared array of a workgroup into the array's first element, in the same way as onnxruntime's kernel. */
function reduce(array: string, index: string, size: string): string {
  return `workgroupBarrier();
for (var half = ${size} >> 1; half > 0; half = half >> 1) {
 if (${index} < u32(half)) {
  ${array}[${index}] += ${array}[${index} + u32(half)];
 }
 workgroupBarrier();
}`
}

const sums: Edit = { find: /^alias f32_val_t = (?:vec\d<)?f32>?;$/gm, by: '$&' }

/** The edits of a kernel that runs a workgroup of 64 threads for each row. */
function ofRows(label: string, bindings: KernelEdits['bindings']): KernelEdits {
  return {
    label,
    bindings,
    edits: [
      sums,
      { find: /^const workgroup_size_x: u32 = 64;$/gm, by: '$&' },
      { find: /^if \(ix == workgroup_size_x - 1\) \{$/gm, by: 'var origin = f32_val_t(0);\n$&' },
      {
        find: /let f32_value = (f32_val_t\(\w+\));/g,
        by: 'if (i == 0) { origin = $1; }\n let f32_value = $1 - origin;',
      },
      {
        find: /^workgroupBarrier\(\);\nvar reduce_size : u32 = workgroup_size_x;$/gm,
        by: 'let sum_here = sum_shared[ix];\nlet squares_here = sum_squared_shared[ix];\nsum_shared[ix] = sum_here + f32(stride) * origin;\n$&',
      },
      {
        find: /^let square_sum = sum_squared_shared\[0\];\n(let mean = .+;)\nlet inv_std_dev = inverseSqrt\((.+) - mean \* mean \+ uniforms\.epsilon\);$/gm,
        by: `$1
let to_mean = f32_val_t(mean) - origin;
sum_squared_shared[ix] = ${moved('squares_here', 'sum_here', 'f32(stride)')};
${reduce('sum_squared_shared', 'ix', 'workgroup_size_x')}
let square_sum = sum_squared_shared[0];
let inv_std_dev = inverseSqrt(max($2, 0.0) + uniforms.epsilon);`,
      },
    ],
  }
}

/** The edits of all kernels that compute a variance. */
export const variances: readonly KernelEdits[] = [
  ofRows('LayerNorm', [
    ['x', 'scale', 'bias', 'y'],
    ['x', 'scale', 'y'],
  ]),
  ofRows('SkipLayerNorm', [['x', 'skip', 'gamma', 'beta', 'output', 'input_skip_bias_sum']]),
  {
    // onnxruntime runs a workgroup for each channel of InstanceNormalization.
    label: 'ComputeChannelScaleShift',
    bindings: [['x', 'scale', 'bias', 'output']],
    constants: ['workgroup_size'],
    edits: [
      sums,
      { find: /var squared_sum = f32_val_t\(0\);/g, by: '$&\n  var origin = f32_val_t(0);\n  var count = 0.0;' },
      {
        find: /sum \+= value;\n *squared_sum \+= value \* value;/g,
        by: 'if (h == local_idx) { origin = value; }\n    let distance = value - origin;\n    sum += distance;\n    squared_sum += distance * distance;\n    count += 1.0;',
      },
      { find: /workgroup_shared_sum\[local_idx\] = sum;/g, by: 'workgroup_shared_sum[local_idx] = sum + count * origin;' },
      {
        find: /if \(local_idx == 0\) \{\n *(let sum_final = .+;)\n *let squared_sum_final = (.+);\n *let inv_std_dev = inverseSqrt\(squared_sum_final - sum_final \* sum_final \+ f32\([\d.]+\)\);/g,
        by: `$1
  let to_mean = f32_val_t(sum_final) - origin;
  workgroup_shared_squared_sum[local_idx] = ${moved('squared_sum', 'sum', 'count')};
${reduce('workgroup_shared_squared_sum', 'local_idx', 'workgroup_size')}
  if (local_idx == 0) {
    let inv_std_dev = inverseSqrt(max($2, 0.0) + f32(bias[channel]) / ${epsilonScale}.0);`,
      },
      {
        find: /let channel_shift = f32\(bias\[channel\]\) - sum_final \* channel_scale;/g,
        by: 'let channel_shift = -sum_final * channel_scale;',
      },
    ],
  },
]
