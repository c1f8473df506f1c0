/** Image to image: where in the schedule a run starts. */

import { InputError } from '../../errors.js'
import type { Scheduler } from '../../schedulers/types.js'
import type { GenerateOptions, PixelImage } from '../types.js'

/** Where an image-to-image run begins. */
export interface ImageStart {
  readonly image: PixelImage
  /** Index of the first timestep that runs. */
  readonly begin: number
}

/** What an image-to-image run takes where the caller says nothing, and how its family counts. */
export interface ImageStartDefaults {
  readonly strength: number
  readonly steps: number
  /** Whether a part of a step counts as one that runs: Stable Diffusion 3 says so, the others do not. */
  readonly partialStepRuns: boolean
}

/**
 * diffusers' `get_timesteps`: the last `strength` of the steps run. Tells the scheduler.
 * @throws InputError `strength` where it leaves no step, or is none
 */
export function imageStart(options: GenerateOptions, scheduler: Scheduler, defaults: ImageStartDefaults): ImageStart | null {
  const { image, strength = defaults.strength } = options
  if (image === undefined) return null
  const steps = (options.timesteps ?? options.sigmas)?.length ?? options.numInferenceSteps ?? defaults.steps
  const left = steps * strength
  const first = defaults.partialStepRuns ? Math.floor(steps - left) : steps - Math.floor(left)
  if (!(strength > 0 && strength <= 1) || first >= steps)
    throw new InputError(
      'strength',
      `strength is ${strength}, which leaves no step of ${steps}; allowed are numbers from ${1 / steps} to 1.`,
      {
        strength,
        allowed: 1 / steps,
      },
    )
  const begin = first * scheduler.order
  scheduler.setBeginIndex(begin)
  return { image, begin }
}
