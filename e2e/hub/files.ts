/** The files that hub specs serve. */

import { createHash } from 'node:crypto'
import { syntheticFile, type VirtualFile } from '../hub-server/repositories.js'

export const mebibyte = 1 << 20

/** Larger than 256 MB, and no multiple of anything. */
export const large = syntheticFile(272 * mebibyte + 12_345, 3)

export const weightsPath = 'unet/diffusion_pytorch_model.safetensors'

const hashes = new WeakMap<VirtualFile, Promise<string>>()

/** Hex sha256 of a file. */
export function sha256(file: VirtualFile): Promise<string> {
  const known = hashes.get(file) ?? hashFile(file)
  hashes.set(file, known)
  return known
}

async function hashFile(file: VirtualFile): Promise<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < file.size; at += 16 * mebibyte) hash.update(await file.read(at, Math.min(file.size, at + 16 * mebibyte)))
  return hash.digest('hex')
}
