/**
 * The branches of adapters beside a Linear or a convolution: LoRA, DoRA, LoHa and LoKr. The layer's own weight is not changed. The scale of
 * a branch is an input of the component, so each run can have another scale. Formulas: peft's layers of these names.
 */

import { UnsupportedError } from '../../errors.js'
import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { add, div, l2Norm, matMul, mul, sub } from '../../onnx/ops-math.js'
import { conv, gemm, type Pads } from '../../onnx/ops-network.js'
import { cast, dimension, reshape, slice } from '../../onnx/ops-shape.js'
import type { AdapterBranch, AdapterForm, ElementType, KroneckerFactor, ValueInfo } from '../../onnx/types.js'

/** The name of a tensor of an adapter in a network's weight table. `part`: its name in files, such as `lora_A`. */
export function adapterTensorName(layer: string, part: string, id: number): string {
  return `${layer}.${part}.${id}`
}

/** A layer's own tensors. `weight` is undefined where it is quantized. */
export interface LayerTensors {
  readonly name: string
  readonly weight: ValueInfo | undefined
  readonly bias: ValueInfo | undefined
}

type FormOf<Kind extends AdapterForm['kind']> = Extract<AdapterForm, { readonly kind: Kind }>

/** One branch of a layer while it is written. */
class Branch {
  readonly scale: ValueInfo
  readonly #graph: GraphBuilder
  readonly #layer: string
  readonly #id: number
  readonly #type: ElementType

  constructor(graph: GraphBuilder, layer: string, { id, scale }: AdapterBranch, type: ElementType) {
    this.scale = cast(graph, graph.componentInput(scale, graph.options.dtype, [1]), type)
    this.#graph = graph
    this.#layer = layer
    this.#id = id
    this.#type = type
  }

  /** A tensor of the adapter, in the type in which the branch is computed. */
  tensor(part: string, dims: readonly number[]): ValueInfo {
    return cast(this.#graph, this.#graph.weight(adapterTensorName(this.#layer, part, this.#id), dims), this.#type)
  }

  /** The scaled bias of a branch, with dimensions of 1 appended. */
  bias(rows: number, trailing: readonly number[]): ValueInfo {
    return reshape(this.#graph, mul(this.#graph, this.tensor('lora_B_bias', [rows]), this.scale), [rows, ...trailing])
  }

  /** LoHa's change of the weight, [rows, columns], scaled. */
  hadamard({ rank }: FormOf<'hadamard'>, rows: number, columns: number): ValueInfo {
    const product = (index: number, factor: (b: ValueInfo) => ValueInfo) =>
      matMul(this.#graph, this.tensor(`hada_w${index}_a`, [rows, rank]), factor(this.tensor(`hada_w${index}_b`, [rank, columns])))
    const first = product(1, (b) => mul(this.#graph, b, this.scale))
    return mul(
      this.#graph,
      first,
      product(2, (b) => b),
    )
  }

  /** The left matrix of LoKr's product, scaled. */
  left({ rows, columns, rank }: KroneckerFactor): ValueInfo {
    if (rank === undefined) return mul(this.#graph, this.tensor('lokr_w1', [rows, columns]), this.scale)
    const scaled = mul(this.#graph, this.tensor('lokr_w1_b', [rank, columns]), this.scale)
    return matMul(this.#graph, this.tensor('lokr_w1_a', [rows, rank]), scaled)
  }
}

/** Adds the branches of a Linear to its output `y` [rows, out]; `x` [rows, in] is its input. @throws UnsupportedError `lora-method` for DoRA beside a quantized weight */
export function addLinearBranches(graph: GraphBuilder, x: ValueInfo, layer: LayerTensors, y: ValueInfo): ValueInfo {
  const [columns, out] = [dimension(x, 1), dimension(y, 1)]
  let sum = y
  for (const own of graph.adapters(layer.name, [out, columns])) {
    const branch = new Branch(graph, layer.name, own, x.type)
    const { form } = own
    if (form.kind === 'hadamard') sum = gemm(graph, x, branch.hadamard(form, out, columns), sum)
    else if (form.kind === 'kronecker') sum = add(graph, sum, kroneckerLinear(graph, x, form, branch, out))
    else {
      const a = branch.tensor('lora_A', [form.rank, columns])
      const b = branch.tensor('lora_B', [out, form.rank])
      sum = gemm(graph, mul(graph, gemm(graph, x, a), branch.scale), b, sum)
      if (form.bias === true) sum = add(graph, sum, branch.bias(out, []))
      if (form.magnitude !== undefined)
        sum = withMagnitude(graph, layer, { a, b, branch, lengths: form.magnitude, trailing: [] }, sum)
    }
  }
  return sum
}

/** Adds the branches of a convolution to its output `y`; `x` is its input. `options` are the convolution's own. @throws as {@link addLinearBranches} */
export function addConvBranches(
  graph: GraphBuilder,
  x: ValueInfo,
  layer: LayerTensors,
  y: ValueInfo,
  options: { readonly kernel: number; readonly stride: number; readonly pads: Pads },
): ValueInfo {
  const { kernel, ...how } = options
  const [columns, out] = [dimension(x, 1), dimension(y, 1)]
  const weight = [out, columns, kernel, kernel]
  let sum = y
  for (const own of graph.adapters(layer.name, weight)) {
    const branch = new Branch(graph, layer.name, own, x.type)
    const { form } = own
    if (form.kind === 'hadamard') {
      const change = reshape(graph, branch.hadamard(form, out, columns * kernel ** 2), weight)
      sum = add(graph, sum, conv(graph, x, change, undefined, how))
    } else if (form.kind === 'kronecker') sum = add(graph, sum, kroneckerConv(graph, x, form, branch, { ...options, out }))
    else {
      const a = branch.tensor('lora_A', [form.rank, columns, kernel, kernel])
      const b = branch.tensor('lora_B', [out, form.rank, 1, 1])
      const scaled = mul(graph, conv(graph, x, a, undefined, how), branch.scale)
      sum = add(graph, sum, conv(graph, scaled, b, undefined))
      if (form.bias === true) sum = add(graph, sum, branch.bias(out, [1, 1]))
      if (form.magnitude !== undefined)
        sum = withMagnitude(graph, layer, { a, b, branch, lengths: form.magnitude, trailing: [1, 1] }, sum)
    }
  }
  return sum
}

/**
 * DoRA: scales each row of the changed weight to a wanted L2 norm: the trained magnitude, or the norm of the layer's own row. For this, the
 * result of the layer and its branch, without the bias, is multiplied by the wanted norm divided by the row's norm. As in peft, the row's
 * norm depends on the branch's scale. The row's norm is computed in float32, in every run.
 */
function withMagnitude(
  graph: GraphBuilder,
  { name, weight, bias }: LayerTensors,
  how: { a: ValueInfo; b: ValueInfo; branch: Branch; lengths: 'stored' | 'own'; trailing: readonly number[] },
  sum: ValueInfo,
): ValueInfo {
  if (weight === undefined)
    throw new UnsupportedError('lora-method', `DoRA cannot change ${name}, whose weight is quantized.`, { layer: name })
  const { a, b, branch, lengths, trailing } = how
  const [rows, rank] = [dimension(b, 0), dimension(b, 1)]
  const matrix = (x: ValueInfo, first: number) =>
    cast(graph, reshape(graph, x, [first, x.dims.reduce((p, n) => p * n, 1) / first]), 'float32')
  const change = matMul(graph, matrix(b, rows), mul(graph, matrix(a, rank), cast(graph, branch.scale, 'float32')))
  const own = matrix(weight, rows)
  const length = cast(graph, l2Norm(graph, add(graph, own, change)), sum.type)
  const wanted = lengths === 'stored' ? branch.tensor('lora_magnitude_vector', [rows]) : cast(graph, l2Norm(graph, own), sum.type)
  const ratio = reshape(graph, div(graph, wanted, length), [rows, ...trailing])
  if (bias === undefined) return mul(graph, sum, ratio)
  const shift = reshape(graph, bias, [rows, ...trailing])
  return add(graph, mul(graph, sub(graph, sum, shift), ratio), shift)
}

/** LoKr: (left ⊗ right)·x = left · X · rightᵀ, where X is x as a matrix [columns of left, columns of right]. */
function kroneckerLinear(graph: GraphBuilder, x: ValueInfo, form: FormOf<'kronecker'>, branch: Branch, out: number): ValueInfo {
  const { left, right, firstRow } = form
  const rows = dimension(x, 0)
  const parts = reshape(graph, x, [rows * left.columns, right.columns])
  const inner =
    right.rank === undefined
      ? gemm(graph, parts, branch.tensor('lokr_w2', [right.rows, right.columns]))
      : gemm(
          graph,
          gemm(graph, parts, branch.tensor('lokr_w2_b', [right.rank, right.columns])),
          branch.tensor('lokr_w2_a', [right.rows, right.rank]),
        )
  const product = matMul(graph, branch.left(left), reshape(graph, inner, [rows, left.columns, right.rows]))
  return slice(graph, reshape(graph, product, [rows, left.rows * right.rows]), 1, firstRow, firstRow + out)
}

/** LoKr beside a convolution: the right matrix convolves each part of the channels, and the left one sums the results. */
function kroneckerConv(
  graph: GraphBuilder,
  x: ValueInfo,
  form: FormOf<'kronecker'>,
  branch: Branch,
  { kernel, out, ...how }: { readonly kernel: number; readonly out: number; readonly stride: number; readonly pads: Pads },
): ValueInfo {
  const { left, right, firstRow } = form
  const [batch = 0, , ...size] = x.dims
  const channels = right.columns / kernel ** 2
  const parts = reshape(graph, x, [batch * left.columns, channels, ...size])
  const inner =
    right.rank === undefined
      ? conv(graph, parts, branch.tensor('lokr_w2', [right.rows, channels, kernel, kernel]), undefined, how)
      : conv(
          graph,
          conv(
            graph,
            parts,
            reshape(graph, branch.tensor('lokr_w2_b', [right.rank, right.columns]), [right.rank, channels, kernel, kernel]),
            undefined,
            how,
          ),
          reshape(graph, branch.tensor('lokr_w2_a', [right.rows, right.rank]), [right.rows, right.rank, 1, 1]),
          undefined,
        )
  const [, , height = 0, width = 0] = inner.dims
  const flat = reshape(graph, inner, [batch, left.columns, right.rows * height * width])
  const product = reshape(graph, matMul(graph, branch.left(left), flat), [batch, left.rows * right.rows, height, width])
  return slice(graph, product, 1, firstRow, firstRow + out)
}
