/**
 * Transforms of a checkpoint's weights: each takes a weight table and returns another one, whose bytes are computed when they are read.
 * A list of transforms is applied in order. No tensor is read or computed before a reader of the new table asks for its bytes. A read works
 * through its source in pieces, so memory is bounded whatever the size of a tensor. The reader decides where the bytes go: to a GPU buffer,
 * a prepared file in the cache or a file on disk.
 */

import type { WeightTable } from '../types.js'

/** The description of a transform, as plain JSON: its name and every parameter that changes its output. */
export interface TransformDescription {
  /** Such as `cast` or `quantize`. */
  readonly name: string
  readonly [parameter: string]: string | number | boolean | undefined
}

/** One step from the weights of a checkpoint to the weights that a network is loaded with. */
export interface WeightTransform {
  /** From equal tables, two transforms with equal descriptions make equal tables, byte for byte. The key of a prepared file contains the description. */
  readonly description: TransformDescription
  /** Returns a new table and leaves the given one as it is. Tensors that do not change keep their source. */
  readonly apply: (table: WeightTable) => WeightTable
}

/** Applies the transforms in order. @throws what the transforms throw for tensors that they cannot handle */
export function transformTable(table: WeightTable, transforms: readonly WeightTransform[]): WeightTable {
  return transforms.reduce((current, transform) => transform.apply(current), table)
}

/**
 * Names everything that a list of transforms does to bytes, for the key under which the result is cached. Equal lists have equal recipes.
 */
export function recipeOf(transforms: readonly WeightTransform[]): string {
  const descriptions = transforms.map(({ description }) => description)
  const [first, second, ...others] = descriptions
  // The recipe of a quantization followed by a cast has an older form. It must not change: users' caches hold quantized copies under it.
  if (first?.name === 'quantize' && second?.name === 'cast' && others.length === 0) {
    const { name: kind, version, ...options } = first
    return JSON.stringify({ kind, version, rest: second['to'], ...options })
  }
  return JSON.stringify(descriptions)
}
