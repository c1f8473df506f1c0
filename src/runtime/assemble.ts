/** Putting tensors together out of boxes of others: what both kinds of device check, and which elements go where. */

import { InputError } from '../errors.js'
import type { Piece } from './types.js'

/** Elements that lie next to each other in the piece's tensor and in the result. Positions and count in elements. */
export interface CopyRun {
  readonly source: number
  readonly target: number
  readonly count: number
}

/** The copies that put a piece into a tensor of shape `dims`, as long as they can be. @throws InputError `bad-pieces` */
export function copyRuns(piece: Piece, dims: readonly number[]): readonly CopyRun[] {
  const { tensor, at, from = dims.map(() => 0) } = piece
  const { size = tensor.dims.map((length, axis) => length - (from[axis] ?? 0)) } = piece
  if (tensor.type !== 'float32' || [tensor.dims, at, from, size].some((list) => list.length !== dims.length))
    throw refusal(piece, dims)
  // From the last axis to the first, as strides grow.
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
  const message = `A piece ${text}${box} is to go to [${at.join(', ')}] of a tensor of shape [${dims.join(', ')}]; it must be float32, of the same rank, and fit.`
  return new InputError('bad-pieces', message, { type: tensor.type, dims: tensor.dims, at, expected: dims })
}

/** The error of a piece that lives on another device. */
export function foreignPiece(): InputError {
  return new InputError('bad-pieces', 'A piece of a tensor is a tensor of another device.')
}
