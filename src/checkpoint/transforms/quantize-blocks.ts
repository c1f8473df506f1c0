/**
 * Converts the tensors that a GGUF file holds in its own blocks to Aquatint's blocks. Tensors of Q8_0 and Q4_0 keep each code and each scale; all
 * others are quantized again, to 8 or 4 bits, whichever is nearer to their own. Tensors in other types stay as they are.
 */

import type { SensitiveWeights, TensorEntry, WeightTable } from '../types.js'
import { quantize } from './quantize.js'
import { dequantizeRows, quantizeVersions } from './quantize-rows.js'
import type { WeightTransform } from './transform-table.js'

/**
 * Called at most once for each block type, if quantization changes the first rows that are read: with their root mean square error, divided
 * by the root mean square of their weights.
 */
export type OnRequantized = (type: string, bits: 4 | 8, error: number) => void

/** The transform. Tensors whose names match `kept` are not quantized. `onRequantized` is called when tensors are read. */
export function quantizeBlocks(kept: SensitiveWeights['kept'], onRequantized: OnRequantized = () => {}): WeightTransform {
  return {
    description: { name: 'quantize-blocks', version: quantizeVersions[4], kept: kept?.source },
    apply: (table) => {
      const measured = new Set<string>()
      const result = new Map<string, TensorEntry>()
      for (const entry of table.values())
        for (const [name, made] of blockEntries(entry, kept, measured, onRequantized)) result.set(name, made)
      return result
    },
  }
}

function blockEntries(
  entry: TensorEntry,
  kept: SensitiveWeights['kept'],
  measured: Set<string>,
  onRequantized: OnRequantized,
): WeightTable {
  const { blocks } = entry
  if (blocks === undefined) return new Map([[entry.name, entry]])
  const { bits, name } = blocks
  const transform = quantize({ bits, blockSize: 32, symmetric: bits === 8, sensitive: { kept } }, (weights, rows, layout) => {
    if (measured.has(name)) return
    measured.add(name)
    const made = dequantizeRows(rows, layout)
    let [error, size] = [0, 0]
    for (const [i, weight] of weights.entries()) {
      error += (weight - (made[i] ?? 0)) ** 2
      size += weight ** 2
    }
    if (error > 0) onRequantized(name, bits, Math.sqrt(error / size))
  })
  return transform.apply(new Map([[entry.name, entry]]))
}
