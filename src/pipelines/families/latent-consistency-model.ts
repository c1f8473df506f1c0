/**
 * LatentConsistencyModelPipeline: models distilled from Stable Diffusion that take the guidance scale as an input and need 1 to 8 steps.
 * Mirrors diffusers' class of that name.
 */

import { UnsupportedError } from '../../errors.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { stableDiffusion } from './stable-diffusion.js'

const { scheduler: _, ...likeStableDiffusion } = stableDiffusion

export const latentConsistencyModel: PipelineFamily = {
  ...likeStableDiffusion,
  className: 'LatentConsistencyModelPipeline',
  savedAs: ['LatentConsistencyModelImg2ImgPipeline'],
  label: 'Latent consistency model',
  defaults: { numInferenceSteps: 4, guidanceScale: 8.5 },
  takesNegativePrompt: false,
  guidance: 'none',
  rescalesGuidance: false,

  // For image to image, diffusers passes `strength` to this class's scheduler, which then spaces the timesteps differently.
  check({ image }) {
    if (image !== undefined)
      throw new UnsupportedError(
        'unsupported-config',
        'LatentConsistencyModelPipeline cannot start from an image yet; generate without image, or load the UNet into a StableDiffusionPipeline.',
        { className: 'LatentConsistencyModelPipeline', key: 'image' },
      )
  },
}
