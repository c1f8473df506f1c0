/**
 * Gemm, MatMul and Conv of onnxruntime 1.30.0 with sums in float32.
 *
 * A workgroup of 8 × 8 threads computes a tile of 32 × 32 results, each thread 4 × 4 of them (Conv with few channels and MatMul with few rows
 * have smaller tiles). The threads copy 32 columns of the left and 32 rows of the right operand into workgroup memory, in float16, and
 * multiply them there; that loop takes almost all of the time. onnxruntime keeps the running sums of the 16 results in float16, which loses
 * 10 bits over 20,000 terms. Here operands become float32 as they leave workgroup memory, the sums and the bias are float32, and each
 * result is rounded once. Bindings, tiles and dispatches are onnxruntime's.
 */

import { sumType, type Edit, type KernelEdits } from './kernel-edit.js'

/**
 * Two ways to store 4 results of a tile: as a vector, or one by one. Gemm stores them one by one if the length of its result's rows is
 * not a multiple of 4.
 */
const storeVector = /mm_write\(batch, globalRow \+ innerRow, globalCol, acc\[innerRow\]\);/g
const storeEach = /mm_write\(batch, globalRow \+ innerRow, globalCol \* innerElementSize \+ i, acc\[innerRow\]\[i\]\);/g

/** Makes the sums float32 in kernels that compute a tile as vectors of 4 results, and add `depth` products at a time. */
function vectorTile(depth: 3 | 4, store = storeVector): readonly Edit[] {
  return [
    { find: /var acc: array<vec4<\w+>, rowPerThread>;/g, by: 'var acc: array<vec4<f32>, rowPerThread>;' },
    { find: /let (BCached\d) = +(mm_Bsub\[[^\]]+\]\[[^\]]+\]);/g, by: 'let $1 = vec4<f32>($2);', times: depth },
    { find: /let ACached = (mm_Asub\[tileRow \+ i\]\[k\]);/g, by: `let ACached = vec${depth}<f32>($1);` },
    { find: store, by: '$&' },
  ]
}

/** Makes the sums float32 in kernels that compute a tile as single results. */
const scalarTile: readonly Edit[] = [
  {
    find: /var acc: array<array<\w+, colPerThread>, rowPerThread>;/g,
    by: 'var acc: array<array<f32, colPerThread>, rowPerThread>;',
  },
  { find: /var BCached: array<\w+, colPerThread>;/g, by: 'var BCached: array<f32, colPerThread>;' },
  { find: /BCached\[inner\] = (mm_Bsub\[[^\]]+\]\[[^\]]+\]);/g, by: 'BCached[inner] = f32($1);' },
  { find: /let ACached = (mm_Asub\[[^\]]+\]\[k\]);/g, by: 'let ACached = f32($1);' },
  {
    find: /acc\[innerRow\]\[innerCol\] = acc\[innerRow\]\[innerCol\] \+ ACached \* BCached\[innerCol\];/g,
    by: '$&',
  },
]

/** A result's last steps in MatMul and Gemm: bias, rounding, storing. */
const productResult: readonly Edit[] = [
  sumType('output_value_t'),
  { find: /colIn: i32, valueIn: output_value_t\) \{/g, by: 'colIn: i32, valueIn: sum_t) {' },
  {
    find: /value \+= output_element_t\(uniforms\.beta\) \* (output_value_t\(c\[.+\]\));/g,
    by: 'value += uniforms.beta * sum_t($1);',
    times: [0, 1],
  },
  { find: /value = value \+ (output_value_t\(bias\[\w+\]\));/g, by: 'value = value + sum_t($1);', times: [0, 1] },
  { find: /set_output_by_indices\(coords, value\);/g, by: 'set_output_by_indices(coords, output_value_t(value));' },
]

/** A result's last steps in Conv (bias, Relu, rounding, storing), for results as vectors of 4 or as single numbers. */
function convolutionResult(type: 'vec4<x_element_t>' | 'x_element_t', sum: 'vec4<f32>' | 'f32'): readonly Edit[] {
  return [
    { find: new RegExp(`colIn : i32, valueIn : ${type}\\) \\{`, 'g'), by: `colIn : i32, valueIn : ${sum}) {` },
    {
      find: /value = value \+ (getBiasByOutputCoords\(coords\));/g,
      by: `value = value + ${sum}($1);`,
      times: [0, 1],
    },
    {
      find: new RegExp(`value = max\\(value, ${type}\\(x_element_t\\(0\\)\\)\\);`, 'g'),
      by: `value = max(value, ${sum}(0));`,
      times: [0, 1],
    },
    {
      find: /setOutputAtCoords\(coords\[0\], coords\[1\], coords\[2\], coords\[3\], value\);/g,
      by: `setOutputAtCoords(coords[0], coords[1], coords[2], coords[3], ${type}(value));`,
    },
  ]
}

/** Matches an operation on the sum that no edit here handles: an activation other than Relu, or a multiplication by `alpha`. */
const otherResult =
  /\bvalue = (?!valueIn;|value \+ (?:sum_t|vec4<f32>|f32)\(|max\(value, (?:vec4<f32>|f32)\(0\)\);|get_[ab]_by_indices|vec4<output_element_t>\(0\)|output_element_t\(0\))|uniforms\.alpha/

const tileConstants = ['rowPerThread', 'colPerThread', 'tileInner']
const products = {
  Gemm: [
    ['a', 'b', 'c', 'output'],
    ['a', 'b', 'output'],
  ],
  MatMul: [
    ['a', 'b', 'bias', 'output'],
    ['a', 'b', 'output'],
  ],
} as const
const convolutions = [
  ['x', 'w', 'bias', 'result'],
  ['x', 'w', 'result'],
]

/** Kernels without tiles, for matrices that are smaller than a tile: a thread computes up to 4 rows of a result alone. */
const naive: readonly KernelEdits[] = [
  {
    label: 'MatMulNaive',
    bindings: products.MatMul,
    edits: [
      sumType('output_value_t'),
      { find: /var values: array<output_value_t, (\d)>;/g, by: 'var values: array<sum_t, $1>;' },
      { find: /let (b_data\d) = (b\[.+\]);/g, by: 'let $1 = sum_t($2);', times: [1, 2, 3, 4] },
      {
        find: /= fma\(b_value_t\((a_data(?:\[\d\])?)\), /g,
        by: '= fma(sum_t(f32($1)), ',
        times: Array.from({ length: 16 }, (_, index) => index + 1),
      },
      { find: /value \+= (output_value_t\(bias\[.+\]\));/g, by: 'value += sum_t($1);', times: [0, 1] },
      { find: /output\[offset\]=value;/g, by: 'output[offset]=output_value_t(value);' },
    ],
    never: /\bvalue = (?!values\[i\];)/,
  },
  {
    label: 'GemmNaive',
    bindings: [
      ['A', 'B', 'C', 'output'],
      ['A', 'B', 'output'],
    ],
    edits: [
      { find: /var value = output_value_t\(0\);/g, by: 'var value = f32(0);' },
      {
        find: /value = value \+ (A\[[^\]]+\]) \* (B\[[^\]]+\]);/g,
        by: 'value = value + f32($1) * f32($2);',
      },
      { find: /value = value \* output_value_t\(uniforms\.alpha\);/g, by: 'value = value * uniforms.alpha;' },
      {
        find: /value = value \+ output_value_t\(uniforms\.beta\) \* (C\[.+\]);/g,
        by: 'value = value + uniforms.beta * f32($1);',
        times: [0, 1],
      },
      { find: /output\[global_idx\]=value;/g, by: 'output[global_idx]=output_value_t(value);' },
    ],
  },
]

/** The edits of all kernels of Gemm, MatMul and Conv. */
export const matrixProducts: readonly KernelEdits[] = [
  ...(['Gemm', 'MatMul'] as const).flatMap((label): KernelEdits[] => [
    {
      label,
      bindings: products[label],
      constants: [...tileConstants, 'innerElementSize'],
      edits: [...vectorTile(4), ...productResult],
      never: otherResult,
    },
    { label, bindings: products[label], constants: tileConstants, edits: [...scalarTile, ...productResult], never: otherResult },
  ]),
  {
    label: 'Gemm',
    bindings: products.Gemm,
    constants: [...tileConstants, 'innerElementSize'],
    edits: [...vectorTile(4, storeEach), ...productResult],
    never: otherResult,
  },
  ...([3, 4] as const).map((depth): KernelEdits => ({
    label: 'Conv2dMM',
    bindings: convolutions,
    constants: [...tileConstants, 'innerElementSize'],
    edits: [...vectorTile(depth), ...convolutionResult('vec4<x_element_t>', 'vec4<f32>')],
    never: otherResult,
  })),
  {
    label: 'Conv2dMM',
    bindings: convolutions,
    constants: tileConstants,
    edits: [...scalarTile, ...convolutionResult('x_element_t', 'f32')],
    never: otherResult,
  },
  ...naive,
]
