/** Weighted sums and copies of tensors: the checks that both kinds of device make, and the sum on the CPU (gpu-combine.ts has the GPU's). */

import { InputError } from '../errors.js'
import type { LinearTerm, Piece } from './types.js'
import { elementCount } from '../util/element-count.js'

/** @throws InputError `bad-terms` */
export function checkTerms(terms: readonly LinearTerm[], bound = 0): void {
  if (!(bound >= 0 && bound < Number.POSITIVE_INFINITY))
    throw new InputError('bad-terms', `The bound of a sum is ${bound}; it must be finite and not negative.`, {
      bound: String(bound),
    })
  if (terms.length < 1 || terms.length > mostTerms)
    throw new InputError('bad-terms', `A sum has ${terms.length} terms; 1 to ${mostTerms} are allowed.`, { count: terms.length })
  for (const { tensor, scale, offset = 0 } of terms) {
    const length = elementCount(tensor.dims)
    if (tensor.type === 'float32' && Number.isFinite(scale) && Number.isInteger(offset) && offset >= 0 && offset < length)
      continue
    const message = `A term is ${tensor.type}[${tensor.dims.join(', ')}] times ${scale} from element ${offset}; it must be float32, finite and inside the tensor.`
    throw new InputError('bad-terms', message, { type: tensor.type, dims: tensor.dims, scale: String(scale), offset })
  }
}

/** The error for a term on another device. */
export function foreignTerm(): InputError {
  return new InputError('bad-terms', 'A term of a sum belongs to another device.')
}

/** The sum, computed in float64 and rounded once, clamped to [-bound, bound]. */
export function combineOnHost(
  terms: readonly { readonly data: Float32Array; readonly scale: number; readonly offset: number }[],
  count: number,
  bound = Number.POSITIVE_INFINITY,
): Float32Array<ArrayBuffer> {
  const sums = new Float64Array(count)
  for (const { data, scale, offset } of terms)
    for (let i = 0; i < count; i++) sums[i] = (sums[i] ?? 0) + scale * (data[(offset + i) % data.length] ?? 0)
  return Float32Array.from(sums, (sum) => Math.min(bound, Math.max(-bound, sum)))
}

/** The most terms of one sum: WebGPU guarantees eight storage buffers, and one of them is for the result. */
export const mostTerms = 7

/** Elements that are contiguous both in the piece's tensor and in the result. Positions and count are in elements. */
export interface CopyRun {
  readonly source: number
  readonly target: number
  readonly count: number
}

/** The copies that put a piece into a tensor of shape `dims`, each as long as possible. @throws InputError `bad-pieces` */
export function copyRuns(piece: Piece, dims: readonly number[]): readonly CopyRun[] {
  const { tensor, at, from = dims.map(() => 0) } = piece
  const { size = tensor.dims.map((length, axis) => length - (from[axis] ?? 0)) } = piece
  if (tensor.type !== 'float32' || [tensor.dims, at, from, size].some((list) => list.length !== dims.length))
    throw refusal(piece, dims)
  // Strides grow from the last axis to the first.
  let [ownStride, stride] = [1, 1]
  let count = 1
  let contiguous = true
  let runs: readonly Omit<CopyRun, 'count'>[] = [{ source: 0, target: 0 }]
  for (const [axis, length] of [...dims.entries()].toReversed()) {
    const [own = 0, to = 0, begin = 0, extent = 0] = [tensor.dims[axis], at[axis], from[axis], size[axis]]
    const inside = (start: number, all: number) => Number.isInteger(start) && start >= 0 && start + extent <= all
    if (!Number.isInteger(extent) || extent < 1 || !inside(begin, own) || !inside(to, length)) throw refusal(piece, dims)
    const [source, target, ownStep, step] = [begin * ownStride, to * stride, ownStride, stride]
    const places = contiguous ? 1 : extent
    if (contiguous) count *= extent
    runs = Array.from({ length: places }, (_, i) =>
      runs.map((run) => ({ source: run.source + source + i * ownStep, target: run.target + target + i * step })),
    ).flat()
    contiguous &&= extent === own && extent === length
    ownStride *= own
    stride *= length
  }
  return runs.map(({ source, target }) => ({ source, target, count }))
}

function refusal({ tensor, at, from, size }: Piece, dims: readonly number[]): InputError {
  const text = `${tensor.type}[${tensor.dims.join(', ')}]`
  const box = from === undefined && size === undefined ? '' : `, its box ${JSON.stringify({ from, size })},`
  const message = `The slice ${text}${box} cannot be placed at [${at.join(', ')}] of a tensor of shape [${dims.join(', ')}]; it must be float32, of the same rank, and fit.`
  return new InputError('bad-pieces', message, { type: tensor.type, dims: tensor.dims, at, expected: dims })
}

/** The error for a piece on another device. */
export function foreignPiece(): InputError {
  return new InputError('bad-pieces', 'A tensor to be joined belongs to another device.')
}
