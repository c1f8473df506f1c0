/**
 * For tests: every operator that the graph writer has, at channel counts that no kernel's vectors and tiles divide. The table's keys are the
 * functions of the ops files, so that a function without a case is noticed. Not part of the library.
 */

import { floats, int32s, scalar } from './constants.js'
import type { GraphBuilder } from './graph-builder.js'
import * as math from './ops-math.js'
import * as network from './ops-network.js'
import * as shape from './ops-shape.js'
import { randomBytes, randomTensor, type NamedValues, type OperatorCase } from './testing-operators.js'
import type { ValueInfo } from './types.js'

/** Every width up to 12. Above 12: some that 2 and 3 divide but 4 does not, and one that 3 divides but 2 does not. */
export const oddWidths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 30, 42, 321] as const

/** One use of an operator: the dims of its inputs, and its call. */
interface Use {
  readonly dims: readonly (readonly number[])[]
  readonly body: (graph: GraphBuilder, inputs: readonly ValueInfo[]) => ValueInfo | readonly ValueInfo[]
  /** Inputs, by index, that are codes of quantized weights. */
  readonly bytes?: readonly number[]
}

/** The uses of an operator at one width. */
type Uses = (width: number) => readonly Use[]

type Operand = ValueInfo | undefined

function unary(call: (graph: GraphBuilder, x: ValueInfo) => ValueInfo): Uses {
  return (width) => [{ dims: [[2, 5, width]], body: (graph, [x]) => call(graph, given(x)) }]
}

function binary(call: (graph: GraphBuilder, a: ValueInfo, b: ValueInfo) => ValueInfo): Uses {
  return (width) =>
    [
      [[5, width], [width]],
      [
        [2, width, 3, 5],
        [2, width, 3, 5],
      ],
      [
        [2, width, 3, 5],
        [width, 1, 1],
      ],
      [
        [2, 3, width],
        [2, 1, width],
      ],
    ].map((dims) => ({ dims, body: (graph, [a, b]) => call(graph, given(a), given(b)) }))
}

function given(value: Operand): ValueInfo {
  if (value === undefined) throw new Error('The case has too few inputs')
  return value
}

function convolution(inputs: number, outputs: number, kernel: number, stride: number, pads: network.Pads): Use {
  const dims = [[2, inputs, 6, 5], [outputs, inputs, kernel, kernel], [outputs]]
  return { dims, body: (graph, [x, weight, bias]) => network.conv(graph, given(x), given(weight), bias, { stride, pads }) }
}

const convolutions: Uses = (width) => [
  ...[1, 4, 6, 8].map((outputs) => convolution(width, outputs, 3, 1, [1, 1, 1, 1])),
  ...[3, 4, 6, 9].map((inputs) => convolution(inputs, width, 3, 1, [1, 1, 1, 1])),
  convolution(width, 8, 3, 2, [0, 0, 1, 1]),
  convolution(width, 4, 2, 2, [0, 0, 0, 0]),
  convolution(width, 4, 1, 1, [0, 0, 0, 0]),
  convolution(6, width, 1, 1, [0, 0, 0, 0]),
]

const attentions: Uses = (width) => {
  const own: Use = {
    dims: Array.from({ length: 3 }, () => [2, 9, 2 * width]),
    body: (graph, [query, key, value]) =>
      network.multiHeadAttention(graph, { query: given(query), key: given(key), value: given(value) }, 2),
  }
  const cross: Use = {
    dims: [
      [2, width, 8],
      [2, 77, 8],
      [2, 77, 8],
      [1, 2, width, 77],
    ],
    body: (graph, [query, key, value, bias]) =>
      network.multiHeadAttention(graph, { query: given(query), key: given(key), value: given(value), bias }, 2, 0.5),
  }
  return [own, cross]
}

/** x [rows, 64] times a quantized weight [width, 64], and x [rows, 64 · width] times one of [12, 64 · width]. */
const quantized: Uses = (width) =>
  [4, 8].flatMap((bits) =>
    [1, 5].flatMap((rows) =>
      [
        [64, width, 32],
        [64 * Math.min(width, 42), 12, 64],
      ].map(([columns = 0, outputs = 0, block = 1]): Use => {
        const blocks = columns / block
        const codes = [outputs, blocks, (block * bits) / 8]
        return {
          dims: [[rows, columns], codes, [outputs, blocks], [outputs, Math.ceil((blocks * bits) / 8)]],
          bytes: [1, 3],
          body: (graph, [x, weight, scales, zeroPoints]) => [
            network.matMulNBits(graph, given(x), { codes: given(weight), scales: given(scales), zeroPoints: undefined }),
            network.matMulNBits(graph, given(x), { codes: given(weight), scales: given(scales), zeroPoints }),
          ],
        }
      }),
    ),
  )

/** The functions of the ops files that add nodes to a graph. */
type Operator = Exclude<keyof typeof math | keyof typeof network | keyof typeof shape, 'dimension'>

const uses: Readonly<Record<Operator, Uses>> = {
  add: binary(math.add),
  sub: binary(math.sub),
  mul: binary(math.mul),
  // Divisors that are not near 0.
  div: binary((graph, a, b) => math.div(graph, a, math.add(graph, math.mul(graph, b, b), scalar(graph, 0.5, b.type)))),
  l2Norm: unary(math.l2Norm),
  mean: unary(math.mean),
  sqrt: unary((graph, x) => math.sqrt(graph, math.mul(graph, x, x))),
  scale: unary((graph, x) => math.scale(graph, x, 0.3)),
  matMul: (width) =>
    [
      [
        [2, 5, width],
        [2, width, 7],
      ],
      [
        [2, width, 6],
        [2, 6, width],
      ],
      [
        [2, 1, 9],
        [2, 9, width],
      ],
      [
        [2, 5, width],
        [2, width, 8],
      ],
      [
        [4, 3],
        [5, 3, width],
      ],
    ].map((dims) => ({ dims, body: (graph, [a, b]) => math.matMul(graph, given(a), given(b)) })),
  softmax: unary(math.softmax),
  silu: unary(math.silu),
  tanh: unary(math.tanh),
  quickGelu: unary((graph, x) => math.quickGelu(graph, x)),
  gelu: (width) => [
    ...unary((graph, x) => math.gelu(graph, x))(width),
    ...unary((graph, x) => math.gelu(graph, x, 'tanh'))(width),
  ],
  relu: unary(math.relu),
  gemm: (width) =>
    [
      [[5, width], [8, width], [8]],
      [[5, 6], [width, 6], [width]],
      [
        [width, width],
        [width, width],
      ],
      [[1, width], [12, width], [12]],
    ].map((dims) => ({ dims, body: (graph, [x, weight, bias]) => network.gemm(graph, given(x), given(weight), bias) })),
  conv: convolutions,
  geglu: (width) => [
    { dims: [[5, 8 * width], [8 * width]], body: (graph, [x, bias]) => network.geglu(graph, given(x), given(bias)) },
  ],
  instanceNormalization: (width) =>
    [
      [2, width, 10],
      [2, 3, 5 * width],
    ].map((dims) => ({ dims: [dims], body: (graph, [x]) => network.instanceNormalization(graph, given(x), 1e-5) })),
  scaleChannels: (width) => [
    {
      dims: [[2, width, 3, 5], [width], [width]],
      body: (graph, [x, weight, bias]) => network.scaleChannels(graph, given(x), given(weight), given(bias)),
    },
  ],
  layerNormalization: (width) => [
    {
      dims: [[2, 5, width], [width], [width]],
      body: (graph, [x, weight, bias]) => network.layerNormalization(graph, given(x), given(weight), bias, 1e-5),
    },
  ],
  skipLayerNormalization: (width) =>
    (['normed', 'sum'] as const).map((output) => ({
      dims: [[10, width], [10, width], [width], [width]],
      body: (graph: GraphBuilder, [x, skip, weight, bias]: readonly ValueInfo[]) =>
        network.skipLayerNormalization(graph, given(x), given(skip), { weight: given(weight), bias: given(bias), epsilon: 1e-5 })[
          output
        ],
    })),
  rmsNormalization: (width) =>
    [
      [2, 5, width],
      [2, 3, 5, width],
    ].map((dims) => ({
      dims: [dims, [width]],
      body: (graph, [x, weight]) => network.rmsNormalization(graph, given(x), given(weight), 1e-6),
    })),
  multiHeadAttention: attentions,
  rotaryEmbedding: (width) =>
    [5, 10].flatMap((rows) =>
      [true, false].map((interleaved) => ({
        dims: [
          [2, 5, 6 * width],
          [rows, width],
          [rows, width],
        ],
        body: (graph, [x, cos, sin]) =>
          network.rotaryEmbedding(graph, given(x), { cos: given(cos), sin: given(sin), interleaved }),
      })),
    ),
  matMulNBits: quantized,
  reshape: unary((graph, x) => shape.reshape(graph, x, [x.dims[2] ?? 0, 10])),
  transpose: (width) => [
    { dims: [[2, width, 7]], body: (graph, [x]) => shape.transpose(graph, given(x), [0, 2, 1]) },
    { dims: [[2, 3, 5, width]], body: (graph, [x]) => shape.transpose(graph, given(x), [0, 3, 1, 2]) },
    { dims: [[5, width]], body: (graph, [x]) => shape.transpose(graph, given(x), [1, 0]) },
    { dims: [[width, 2, 2, 3, 2]], body: (graph, [x]) => shape.transpose(graph, given(x), [0, 3, 1, 4, 2]) },
    { dims: [[1, width, 3, 2, 2, 2]], body: (graph, [x]) => shape.transpose(graph, given(x), [0, 2, 4, 3, 5, 1]) },
  ],
  concat: (width) =>
    [1, 2].map((axis) => ({
      dims: [
        [2, width, width],
        [2, axis === 1 ? 5 : width, axis === 2 ? 5 : width],
      ],
      body: (graph, [a, b]) => shape.concat(graph, [given(a), given(b)], axis),
    })),
  split: (width) => [
    {
      dims: [[2, width + 8, 3]],
      body: (graph, [x]) => shape.split(graph, given(x), [width, ...Array.from({ length: 8 }, () => 1)], 1),
    },
    { dims: [[5, 2 * width]], body: (graph, [x]) => shape.split(graph, given(x), [width, width], 1) },
    {
      dims: [[2, 6 * width]],
      body: (graph, [x]) =>
        shape.split(
          graph,
          given(x),
          Array.from({ length: 6 }, () => width),
          1,
        ),
    },
  ],
  slice: (width) => [
    { dims: [[2, width + 3, 5]], body: (graph, [x]) => shape.slice(graph, given(x), 1, 1, width + 1) },
    { dims: [[5, width + 3]], body: (graph, [x]) => shape.slice(graph, given(x), 1, 2, width + 2) },
  ],
  expand: (width) => [
    {
      dims: [[2, 1, width]],
      body: (graph, [x]) => {
        // A value with two names: the graph writer copies it, by Identity.
        const value = shape.expand(graph, given(x), [2, 3, width])
        return [value, value]
      },
    },
    { dims: [[2, width, 1, 5]], body: (graph, [x]) => shape.expand(graph, given(x), [2, width, 4, 5]) },
  ],
  padEnd: (width) => [{ dims: [[2, width, 3, 5]], body: (graph, [x]) => shape.padEnd(graph, given(x), 1, 3) }],
  resizeNearest: (width) => [{ dims: [[2, width, 3, 5]], body: (graph, [x]) => shape.resizeNearest(graph, given(x), 6, 11) }],
  cast: unary((graph, x) => math.add(graph, shape.cast(graph, shape.cast(graph, x, 'float32'), x.type), floats(graph, [1]))),
  gather: (width) => [
    {
      dims: [[9, width]],
      body: (graph, [table]) => shape.gather(graph, given(table), int32s(graph, [8, 0, 3, 3], [4])),
    },
  ],
}

/** The case of each operator: all its uses at all widths, in one graph. */
export const operatorCases: Readonly<Record<string, OperatorCase>> = Object.fromEntries(
  Object.entries(uses).map(([name, usesAt]) => [name, caseOf(oddWidths.flatMap((width) => usesAt(width)))]),
)

function inputName(use: number, input: number): string {
  return `x${use}_${input}`
}

function caseOf(all: readonly Use[]): OperatorCase {
  return {
    inputs: Object.fromEntries(
      all.flatMap(({ dims, bytes = [] }, use) =>
        dims.map((size, input) => [
          inputName(use, input),
          bytes.includes(input) ? randomBytes(size, input) : randomTensor(size, 7 * use + input),
        ]),
      ),
    ),
    body: (graph, inputs) =>
      Object.fromEntries(
        all.flatMap(({ dims, body }, use) => {
          const results = [
            body(
              graph,
              dims.map((_, input) => given(inputs[inputName(use, input)])),
            ),
          ].flat()
          const label = dims.map((size) => size.join('×')).join(', ')
          return results.map((value, output): [string, ValueInfo] => [`${label} (${use}.${output})`, value])
        }),
      ) satisfies NamedValues,
  }
}
