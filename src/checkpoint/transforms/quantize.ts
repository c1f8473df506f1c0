/**
 * The quantize transform: the Linear weights of a table as int8 or int4 codes with scales. quantize-rows.ts has the layout and the
 * arithmetic, quantize-source.ts the byte sources. Reading the tensors of the new table in order, each from its beginning to its end,
 * reads each byte of the original once.
 */

import { CheckpointError } from '../../errors.js'
import type { ByteSource } from '../../hub/types.js'
import type { SafetensorsDType, TensorEntry } from '../types.js'
import { isQuantizable, optionsFor, quantizedLayout, quantizeVersions, type QuantizeOptions } from './quantize-rows.js'
import { QuantizedTensor, ScaleMemory, type OnRows } from './quantize-source.js'
import type { WeightTransform } from './transform-table.js'

/**
 * Replaces each Linear weight `<x>.weight` by `<x>.weight` (codes), `<x>.weight_scale` and, with `zeroPoints`, `<x>.weight_zero_point`.
 * All other tensors stay as they are; to convert their type, apply {@link castWeights} after this transform.
 * `onRows` receives the rows as they are quantized.
 * `apply` throws CheckpointError `quantized-name` where the table has one of the new names already, InputError `quantize-options`.
 */
export function quantize(options: QuantizeOptions, onRows?: OnRows): WeightTransform {
  const { sensitive, ...own } = options
  const version = quantizeVersions[options.bits]
  const names = { kept: sensitive?.kept?.source, eightBits: options.bits === 4 ? sensitive?.eightBits?.source : undefined }
  return {
    description: { name: 'quantize', version, ...own, ...names },
    apply: (table) => {
      const result = new Map<string, TensorEntry>()
      const memory = new ScaleMemory()
      const put = (entry: TensorEntry) => {
        const { name } = entry
        if (result.has(name))
          throw new CheckpointError(
            'quantized-name',
            `The checkpoint has a tensor ${JSON.stringify(name)}, a name that is reserved for quantization.`,
            { tensor: name },
          )
        result.set(name, entry)
      }
      const add = (name: string, dtype: SafetensorsDType, shape: readonly number[], source: ByteSource) =>
        put({ name, dtype, shape, source, begin: 0, end: source.byteLength })
      for (const entry of table.values()) {
        if (!isQuantizable(entry, options)) {
          put(entry)
          continue
        }
        const layout = quantizedLayout(entry.shape, optionsFor(entry.name, options))
        const { rows, blocksPerRow, codeBytes, zeroPointBytes } = layout
        const tensor = new QuantizedTensor(entry, layout, memory, onRows)
        add(entry.name, 'U8', [rows, blocksPerRow, codeBytes / blocksPerRow], tensor.codes)
        add(`${entry.name}_scale`, 'F16', [rows, blocksPerRow], tensor.scales)
        if (layout.zeroPoints) add(`${entry.name}_zero_point`, 'U8', [rows, zeroPointBytes], tensor.zeroPoints)
      }
      return result
    },
  }
}
