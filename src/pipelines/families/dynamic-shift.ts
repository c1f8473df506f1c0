/** The shift `mu` of flow matching schedulers with `use_dynamic_shifting`: it grows with the size of the image. */

import type { Config } from '../../checkpoint/types.js'

/**
 * diffusers' `calculate_shift`, from the number of the denoiser's tokens and the scheduler's config. `maxShift` is the pipeline class's value where the
 * config has no `max_shift`.
 */
export function dynamicShift(tokens: number, config: Config, maxShift: number): number {
  const baseLength = configNumber(config, 'base_image_seq_len', 256)
  const maxLength = configNumber(config, 'max_image_seq_len', 4096)
  const baseShift = configNumber(config, 'base_shift', 0.5)
  const slope = (configNumber(config, 'max_shift', maxShift) - baseShift) / (maxLength - baseLength)
  return tokens * slope + (baseShift - slope * baseLength)
}

function configNumber(config: Config, key: string, fallback: number): number {
  const value = config[key]
  return typeof value === 'number' ? value : fallback
}
