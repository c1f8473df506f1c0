/**
 * How the tensors of a single-file checkpoint become those that diffusers loads: under other names, split, transposed or without axes of one element. A single file has the names of the code that trained the model; each file of this folder lists those of one network.
 */

import { CheckpointError } from '../../../errors.js'
import type { Config, TensorEntry, WeightTable } from '../../types.js'
import type { WeightTransform } from '../../transforms/transform-table.js'
import { dtypeBytes } from '../../../util/dtype-bytes.js'
import { constantSource, joined, transposed } from './derived-sources.js'

/** The part of an original tensor that becomes a parameter. */
export type TensorPart =
  /** The whole tensor. */
  | 'whole'
  /** A third of the rows: queries, keys and values are one matrix in the original. */
  | { readonly third: 0 | 1 | 2 }
  /** The rows from `begin` to `end`, or to the last row if there is no `end`. */
  | { readonly rows: readonly [begin: number, end: number | undefined] }
  /** The matrix, transposed: [in, out] → [out, in]. */
  | 'transposed'
  /** The weight of a 1×1 convolution as a matrix: [out, in, 1, 1] → [out, in]. */
  | 'squeezed'
  /** All rows, with the two halves exchanged: shift and scale of an adaptive norm. */
  | 'halves-exchanged'

/** A parameter, and the part of an original tensor that becomes it. */
export interface TensorPiece {
  /** The parameter's name in diffusers or transformers. */
  readonly name: string
  readonly part: TensorPart
}

/** Original tensors by name, without the component's prefix. Only their names and shapes are read. */
export type Originals = ReadonlyMap<string, Pick<TensorEntry, 'shape'>>

/** The parameters that one original tensor becomes. None for a tensor that diffusers does not load. `name` has no prefix. */
export type Pieces = (name: string) => readonly TensorPiece[]

/** The names of one network in single files. */
export interface OriginalNames {
  /** Part of the cache key of converted weights. Change it whenever `pieces` or `identities` returns other results. */
  readonly id: string
  /** The prefix of the names of the network's tensors. */
  readonly prefix: string
  /** The name, without the prefix, of a tensor that every network with these names has. */
  readonly marker?: string | undefined
  /** @param config the component's config in diffusers' layout @param originals all tensors with the prefix */
  readonly pieces: (config: Config, originals: Originals) => Pieces
  /** Parameters that are set to an identity matrix [width, width], whatever the file has. Default: none. */
  readonly identities?: ((config: Config) => readonly { readonly name: string; readonly width: number }[]) | undefined
}

/** One piece: the whole tensor under another name. */
export const renamed = (name: string): readonly TensorPiece[] => [{ name, part: 'whole' }]

/** Three parameters that are one matrix in the original, in the order of its rows. */
export const thirds = (names: readonly string[]): readonly TensorPiece[] =>
  names.map((name, third) => ({ name, part: { third: third as 0 | 1 | 2 } }))

/** Whether the name of any tensor in a table begins with the prefix. */
export function hasNames(table: ReadonlyMap<string, unknown>, { prefix }: Pick<OriginalNames, 'prefix'>): boolean {
  for (const name of table.keys()) if (name.startsWith(prefix)) return true
  return false
}

/** The transform from a whole single file to the weights of one network, as diffusers names them. */
export function takeNetwork(names: OriginalNames, config: Config): WeightTransform {
  const { id, prefix } = names
  return {
    description: { name: 'single-file', names: id, prefix },
    apply: (table) => networkTable(table, names, config),
  }
}

function networkTable(table: WeightTable, names: OriginalNames, config: Config): WeightTable {
  const { prefix } = names
  const originals = new Map<string, TensorEntry>()
  for (const [name, entry] of table) if (name.startsWith(prefix)) originals.set(name.slice(prefix.length), entry)
  const pieces = names.pieces(config, originals)
  const result = new Map<string, TensorEntry>()
  for (const [name, entry] of originals) {
    for (const piece of pieces(name)) result.set(piece.name, takePiece(entry, piece, prefix + name))
  }
  for (const { name, width } of names.identities?.(config) ?? []) {
    const source = constantSource(identity(width))
    result.set(name, { name, dtype: 'F32', shape: [width, width], source, begin: 0, end: source.byteLength })
  }
  return result
}

/** @throws CheckpointError `shape-mismatch` where the tensor has no such part */
function takePiece(entry: TensorEntry, { name, part }: TensorPiece, original: string): TensorEntry {
  const { shape, begin, end, source, dtype } = entry
  const [rows = 0, columns = 0] = shape
  const bytes = end - begin
  if (part === 'whole') return { ...entry, name }
  if (part === 'squeezed') return { ...entry, name, shape: shape.length > 2 ? shape.slice(0, 2) : shape }
  if (part === 'transposed') {
    if (shape.length !== 2) throw wrongShape(original, shape, 'a matrix')
    const turned = transposed(source, { begin, end }, { rows, columns, bytes: dtypeBytes[dtype] })
    return { ...entry, name, shape: [columns, rows], source: turned, begin: 0, end: bytes }
  }
  if (part === 'halves-exchanged') {
    if (rows % 2 !== 0) throw wrongShape(original, shape, 'an even number of rows')
    const middle = begin + bytes / 2
    const exchanged = joined([
      { source, begin: middle, end },
      { source, begin, end: middle },
    ])
    return { ...entry, name, source: exchanged, begin: 0, end: bytes }
  }
  if ('rows' in part) {
    const [from, to = rows] = part.rows
    if (to > rows || from >= to) throw wrongShape(original, shape, `more than ${from} rows, and at least ${to}`)
    const row = bytes / rows
    return { ...entry, name, shape: [to - from, ...shape.slice(1)], begin: begin + from * row, end: begin + to * row }
  }
  if (rows % 3 !== 0) throw wrongShape(original, shape, 'three times as many rows as a projection')
  const third = bytes / 3
  const first = begin + part.third * third
  return { ...entry, name, shape: [rows / 3, ...shape.slice(1)], begin: first, end: first + third }
}

function wrongShape(tensor: string, shape: readonly number[], expected: string): CheckpointError {
  return new CheckpointError('shape-mismatch', `${tensor} has the shape [${shape.join(', ')}]; expected ${expected}.`, {
    tensor,
    shape: [...shape],
    expected,
  })
}

/** The bytes of a float32 identity matrix. */
function identity(width: number): Uint8Array<ArrayBuffer> {
  const values = new Float32Array(width * width)
  for (let i = 0; i < width; i++) values[i * (width + 1)] = 1
  return new Uint8Array(values.buffer)
}
