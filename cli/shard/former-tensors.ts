/** Tensors of checkpoints that older releases of the libraries saved: names that have changed, and buffers that are no longer saved. */

import { findNetworkDefinition } from '../../src/models/registry.js'
import type { WeightTable } from '../../src/checkpoint/types.js'
import { isFloatDType } from '../../src/checkpoint/element-types.js'

/**
 * Returns the table with the class's current names, in the same order, because diffusers does not recognize former names in shards. Returns
 * the same table if no name changes.
 */
export function renameFormer(className: string, table: WeightTable): WeightTable {
  const definition = findNetworkDefinition(className)
  if (definition === undefined) return table
  const renamed = new Map(
    [...table.values()].map((entry) => {
      const name = definition.weights.currentName(entry.name)
      return [name, name === entry.name ? entry : { ...entry, name }] as const
    }),
  )
  // A table with both a former and the current name of a tensor is not from an old checkpoint.
  return renamed.size === table.size ? renamed : table
}

/**
 * Returns the table without buffers of positions (0, 1, 2 …), which transformers saved before release 4.31. Returns the same table if there
 * are none.
 */
export function dropFormer(table: WeightTable): WeightTable {
  const kept = [...table].filter(([name, { dtype }]) => isFloatDType(dtype) || !/(?:^|\.)embeddings\.position_ids$/.test(name))
  return kept.length === table.size ? table : new Map(kept)
}

/** The number of tensors of `table` that have another name in `renamed`. */
export function countRenamed(table: WeightTable, renamed: WeightTable): number {
  return [...table.keys()].filter((name) => !renamed.has(name)).length
}
