/**
 * `quantization_config` in a component's config.json, as `aquatint shard --dtype q8` writes it. Its tensors tell by themselves how they
 * are laid out (transforms/quantize-rows.ts); the note keeps other software from reading codes as weights. What other tools note there is not dealt with
 * here: whoever writes the graph refuses it by name.
 */

import { CheckpointError } from '../errors.js'
import { isJsonObject } from '../util/parse-json.js'
import type { Config } from './types.js'

/** The value of `quant_method` that is ours. */
const ownQuantMethod = 'aquatint'

export interface ReadQuantization {
  /** The config without our note. */
  readonly config: Config
  /** The bits of the quantized weights, or null if Aquatint did not quantize the checkpoint. */
  readonly bits: 4 | 8 | null
}

/** @throws CheckpointError `quantization-config` if Aquatint's entry has other than 4 or 8 bits */
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
