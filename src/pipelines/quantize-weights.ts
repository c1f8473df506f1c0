/**
 * A network's weights quantised: made from the checkpoint tensor by tensor and kept in the cache, so that the next start reads the small
 * form only. Without a cache they are made anew each time they are loaded. Either way no tensor is ever whole in memory.
 */

import { convertTable } from '../checkpoint/convert.js'
import { quantizeVersion } from '../checkpoint/quantize.js'
import type { WeightTable } from '../checkpoint/types.js'
import type { Hub } from '../hub/hub.js'
import { openPrepared } from '../hub/prepared-file.js'
import { quantizeOptions } from './dtypes.js'
import type { Run } from './run-hooks.js'
import type { QuantizationName } from './types.js'

export interface QuantizedWeights {
  readonly table: WeightTable
  /** Lets the cache evict the small form again. */
  readonly release: () => void
}

/** @throws CheckpointError `weight-not-finite`, `weight-too-large`, `quantized-name`; HubError, StorageError, AbortError */
export async function quantizeWeights(
  component: string,
  table: WeightTable,
  word: QuantizationName,
  hub: Hub | undefined,
  run: Run,
): Promise<QuantizedWeights> {
  const quantize = quantizeOptions(word)
  const converted = convertTable(table, { dtype: 'F16', quantize })
  const contents = new Set([...table.values()].map((entry) => entry.source.contentKey))
  const keys = [...contents].filter((key) => key !== undefined)
  // A source that nothing names (a folder on disk) may be another one tomorrow.
  if (hub === undefined || keys.length < contents.size) return { table: converted, release: () => {} }
  const prepared = await openPrepared(
    hub,
    {
      name: `${component} (${word})`,
      recipe: JSON.stringify({ kind: 'quantize', version: quantizeVersion, rest: 'F16', ...quantize }),
      contents: keys.toSorted(),
      parts: [...converted.values()],
    },
    { signal: run.signal, onProgress: (file) => run.report({ type: 'file', component, file }) },
  )
  const stored = [...converted].map(([name, entry]) => {
    const { begin, end } = prepared.ranges.get(name) ?? { begin: 0, end: 0 }
    return [name, { ...entry, source: prepared.source, begin, end }] as const
  })
  return { table: new Map(stored), release: prepared.release }
}
