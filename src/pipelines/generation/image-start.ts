/** Image to image: where in the schedule a run starts. */

import { InputError, UnsupportedError } from '../../errors.js'
import type { Scheduler } from '../../schedulers/types.js'
import { isImageList } from '../check-inputs.js'
import type { PipelineInfo } from '../pipeline-info.js'
import type { GenerateOptions, PixelImage } from '../types.js'

/** Where an image-to-image run begins. */
export interface ImageStart {
  readonly image: PixelImage
  /** Index of the first timestep that runs. */
  readonly begin: number
}

/** How a pipeline class runs image to image. */
export interface ImageStartRules {
  /** The default of `strength`. */
  readonly strength: number
  /** Whether a fraction of a step is rounded up to a step that runs. */
  readonly partialStepRuns: boolean
  /** Defaults that differ from those of text to image, as in diffusers' class for image to image. Absent: none differ. */
  readonly defaults?: Partial<PipelineInfo['defaults']['fromImage']> | undefined
}

/**
 * diffusers' `get_timesteps`: only the last steps run, a fraction `strength` of all steps. Sets the scheduler's begin index.
 * @throws InputError `strength` if it leaves no timestep, or is not from 0 to 1; UnsupportedError `unsupported-config` if the scheduler
 * cannot add noise to an image
 */
export function imageStart(
  options: GenerateOptions,
  scheduler: Scheduler,
  rules: ImageStartRules,
  defaultSteps: number,
): ImageStart | null {
  const { image, strength = rules.strength } = options
  if (image === undefined) return null
  const { className, startsFromImage } = scheduler
  if (!startsFromImage)
    throw new UnsupportedError(
      'unsupported-config',
      `${className} cannot start from an image: diffusers' class has no add_noise. Use another scheduler for image to image.`,
      { className, key: 'image' },
    )
  if (isImageList(image)) throw new TypeError('A list of images was not refused.')
  // If timesteps or sigmas are given, diffusers counts every timestep of the resulting schedule as a step. It does so also with Heun, whose
  // schedule has nearly two timesteps for each given one.
  const isGiven = (options.timesteps ?? options.sigmas) !== undefined
  const steps = isGiven ? scheduler.timesteps.length : (options.numInferenceSteps ?? defaultSteps)
  const left = steps * strength
  const first = rules.partialStepRuns ? Math.floor(steps - left) : steps - Math.floor(left)
  const begin = first * scheduler.order
  // PNDM has one timestep more than steps. As in diffusers, that one runs whatever the strength is.
  if (!(strength >= 0 && strength <= 1) || begin >= scheduler.timesteps.length)
    throw new InputError(
      'strength',
      `strength is ${strength}, which leaves no step of ${steps}; allowed are numbers from ${1 / steps} to 1.`,
      {
        strength,
        allowed: 1 / steps,
      },
    )
  scheduler.setBeginIndex(begin)
  return { image, begin }
}
