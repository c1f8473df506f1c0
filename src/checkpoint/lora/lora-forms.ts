/**
 * Finds out which method the tensors of a layer's branch belong to: LoRA, DoRA, LoHa or LoKr, and whether they fit each other and a layer. Pure.
 */

import { CheckpointError } from '../../errors.js'
import type { AdapterForm, KroneckerFactor } from '../../onnx/types.js'
import { isFloatDType } from '../element-types.js'
import type { TensorHeader } from '../safetensors.js'
import type { BranchTensor } from './lora-keys.js'

/** The tensors of a branch by name. */
export type BranchTensors = ReadonlyMap<BranchTensor, TensorHeader>

/** A branch, and the size of the matrix that it adds to a layer's weight. A convolution has a column per input channel and kernel pixel. */
export interface ReadBranch {
  readonly form: AdapterForm
  readonly tensors: BranchTensors
  readonly rows: number
  readonly columns: number
  /** The rank that alpha is divided by; undefined where the method takes no alpha. */
  readonly rank: number | undefined
}

type Matrix = readonly [TensorHeader, rows: number, columns: number]

/**
 * Reads the form of a branch.
 * @param where the branch, for messages
 * @throws CheckpointError `not-a-lora` where a tensor is missing, `shape-mismatch`, `dtype-mismatch`
 */
export function readBranch(tensors: BranchTensors, file: string, where: string): ReadBranch {
  for (const { name, dtype, dtypeName } of tensors.values())
    if (!isFloatDType(dtype)) {
      const message = `The tensor ${name} in ${file} holds ${dtypeName ?? dtype}; a LoRA's factors are floating-point numbers.`
      throw new CheckpointError('dtype-mismatch', message, { tensor: name, actual: dtypeName ?? dtype })
    }
  const get = (part: BranchTensor): Matrix => {
    const found = tensors.get(part)
    if (found !== undefined) return matrix(found)
    const has = [...tensors.keys()].join(', ')
    const message = `${file} has only some of the tensors for ${where}: ${has === '' ? 'an alpha' : has}, but no ${part}.`
    throw new CheckpointError('not-a-lora', message, { file, layer: where, missing: part })
  }
  const product = ([first, rows, rank]: Matrix, [second, inner, columns]: Matrix) => {
    if (rank < 1 || rank !== inner) {
      const message = `The factors ${first.name} [${first.shape.join(', ')}] and ${second.name} [${second.shape.join(', ')}] in ${file} have different ranks.`
      throw new CheckpointError('shape-mismatch', message, { tensor: second.name, expected: [rank], actual: second.shape })
    }
    return { rows, columns, rank }
  }
  if ([...tensors.keys()].some((part) => part.startsWith('hada'))) {
    const [first, second] = [product(get('hada_w1_a'), get('hada_w1_b')), product(get('hada_w2_a'), get('hada_w2_b'))]
    if (first.rows !== second.rows || first.columns !== second.columns || first.rank !== second.rank)
      throw mismatch(get('hada_w2_a')[0], [first.rows, first.rank], file)
    return { ...first, tensors, form: { kind: 'hadamard', rank: first.rank } }
  }
  if ([...tensors.keys()].some((part) => part.startsWith('lokr'))) {
    const factor = (index: 1 | 2): KroneckerFactor => {
      if (tensors.has(`lokr_w${index}_a`)) return product(get(`lokr_w${index}_a`), get(`lokr_w${index}_b`))
      const [, rows, columns] = get(`lokr_w${index}`)
      return { rows, columns }
    }
    const [left, right] = [factor(1), factor(2)]
    const [rows, columns] = [left.rows * right.rows, left.columns * right.columns]
    // LyCORIS divides alpha by the rank of a factor that is stored as two matrices. If both factors are whole matrices, it ignores alpha.
    return { rows, columns, tensors, rank: right.rank ?? left.rank, form: { kind: 'kronecker', left, right, firstRow: 0 } }
  }
  const { rows, columns, rank } = product(get('lora_B'), get('lora_A'))
  const magnitude = tensors.get('lora_magnitude_vector')
  if (magnitude !== undefined && magnitude.shape.reduce((all, size) => all * size, 1) !== rows)
    throw mismatch(magnitude, [rows], file)
  const bias = tensors.get('lora_B_bias')
  if (bias !== undefined && (bias.shape.length !== 1 || bias.shape[0] !== rows)) throw mismatch(bias, [rows], file)
  return {
    rows,
    columns,
    rank,
    tensors,
    form: { kind: 'low-rank', rank, magnitude: magnitude === undefined ? undefined : 'stored', bias: bias !== undefined },
  }
}

/** A tensor as a matrix [rows, columns]. The columns are all axes after the first, flattened. */
function matrix(tensor: TensorHeader): Matrix {
  const [rows = 0, ...inner] = tensor.shape
  return [tensor, rows, inner.reduce((all, size) => all * size, 1)]
}

function mismatch({ name, shape }: TensorHeader, expected: readonly number[], file: string): CheckpointError {
  const message = `The tensor ${name} in ${file} has the shape [${shape.join(', ')}]; the other tensors of the same layer need [${expected.join(', ')}].`
  return new CheckpointError('shape-mismatch', message, { tensor: name, expected, actual: shape })
}

/**
 * The first tensor of a branch that does not fit a weight of shape [wanted, ...inner], and the shape that this tensor must have; undefined
 * if all tensors fit. For LoHa and LoKr, whose factors can have many shapes, returns the branch's first tensor and the shape of the weight.
 */
export function misfitOf(
  { form, tensors, rows, columns }: ReadBranch,
  wanted: number,
  inner: readonly number[],
): { readonly tensor: TensorHeader; readonly expected: readonly number[] } | undefined {
  const all = inner.reduce((product, size) => product * size, 1)
  const misfit = (part: BranchTensor, expected: readonly number[]) => {
    const tensor = tensors.get(part)
    return tensor === undefined || sameShape(tensor.shape, expected) ? undefined : { tensor, expected }
  }
  if (form.kind === 'low-rank') return misfit('lora_A', [form.rank, ...inner]) ?? misfit('lora_B', [wanted, form.rank])
  // In a Kronecker product, the right matrix contains all elements of a convolution's kernel.
  const pixels = inner.slice(1).reduce((product, size) => product * size, 1)
  const hasPixels = form.kind !== 'kronecker' || form.right.columns % pixels === 0
  const [tensor] = tensors.values()
  return tensor === undefined || (rows === wanted && columns === all && hasPixels)
    ? undefined
    : { tensor, expected: [wanted, ...inner] }
}

/** Whether two shapes are equal apart from dimensions of 1 at the end: a Linear can be stored as a 1×1 convolution. */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a]
  return long.every((size, axis) => size === (short[axis] ?? 1))
}
