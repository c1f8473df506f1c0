/**
 * `quantization_config` in a component's config.json, as `aquatint shard --dtype q8` writes it. It keeps other software from
 * reading codes as weights; the layout follows from the tensors themselves (transforms/quantize-rows.ts). The `quantization_config` of another tool
 * is not read here: the network definitions refuse it.
 */

import { CheckpointError } from '../errors.js'
import { isJsonObject } from '../util/parse-json.js'
import type { Config } from './types.js'

/** The value of `quant_method` that Aquatint writes. */
const ownQuantMethod = 'aquatint'

/** A config without Aquatint's `quantization_config`, and the bits that it gave. */
export interface ReadQuantization {
  /** The config without Aquatint's `quantization_config`. */
  readonly config: Config
  /** Bits of the quantized weights; null if the config has no `quantization_config` of Aquatint. */
  readonly bits: 4 | 8 | null
}

/** Reads and removes Aquatint's `quantization_config`. @throws CheckpointError `quantization-config` if its bits are not 4 or 8 */
export function readQuantizationConfig(config: Config): ReadQuantization {
  const { quantization_config: note, ...rest } = config
  if (!isJsonObject(note) || note.quant_method !== ownQuantMethod) return { config, bits: null }
  const { bits } = note
  if (bits !== 4 && bits !== 8)
    throw new CheckpointError(
      'quantization-config',
      `quantization_config of ${ownQuantMethod} has bits ${JSON.stringify(bits)}; allowed are 4 and 8.`,
      {
        bits: JSON.stringify(bits ?? null).slice(0, 100),
      },
    )
  return { config: rest, bits }
}
