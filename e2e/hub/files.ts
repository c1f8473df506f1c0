/** The files that hub specs serve. */

import { syntheticFile } from '../hub-server/repositories.js'

export const mebibyte = 1 << 20

/** Larger than 256 MB, and no multiple of anything. */
export const large = syntheticFile(272 * mebibyte + 12_345, 3)

export const weightsPath = 'unet/diffusion_pytorch_model.safetensors'
