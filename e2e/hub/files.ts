/** The files that hub specs serve. */

import { syntheticFile } from '../hub-server/repositories.js'

export const mebibyte = 1 << 20

/** A file of more than 256 MB, whose size is not a multiple of any size of chunks or pieces. */
export const large = syntheticFile(272 * mebibyte + 12_345, 3)

export const weightsPath = 'unet/diffusion_pytorch_model.safetensors'
