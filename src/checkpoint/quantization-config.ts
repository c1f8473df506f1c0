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

/** A config without Aquatint's note, and the content of the note. */
export interface ReadQuantization {
  /** The config without Aquatint's note. */
  readonly config: Config
  /** Bits of the quantized weights; null if the config has no note of Aquatint's. */
  readonly bits: 4 | 8 | null
}

/** Reads and removes Aquatint's note. @throws CheckpointError `quantization-config` for a note with other than 4 or 8 bits */
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
