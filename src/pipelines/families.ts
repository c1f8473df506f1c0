/** All pipeline classes that can be run. A new class is added here; everything else about it is in its own file. */

import { chroma } from './families/chroma.js'
import { flux } from './families/flux.js'
import { flux2Klein } from './families/flux2-klein.js'
import { latentConsistencyModel } from './families/latent-consistency-model.js'
import { stableDiffusion } from './families/stable-diffusion.js'
import { stableDiffusion3 } from './families/stable-diffusion-3.js'
import { stableDiffusionXL } from './families/stable-diffusion-xl.js'
import { zImage } from './families/z-image.js'
import type { PipelineFamily } from './generation/pipeline-family.js'

export const families: readonly PipelineFamily[] = [
  stableDiffusion,
  stableDiffusionXL,
  stableDiffusion3,
  flux,
  flux2Klein,
  zImage,
  chroma,
  latentConsistencyModel,
]
