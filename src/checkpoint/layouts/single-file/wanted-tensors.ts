/**
 * Which tensors of a single file a load needs. A file may also hold a second copy of the weights (EMA), or an autoencoder or text encoders that
 * the caller replaces or leaves out: those need not be downloaded.
 */

import type { TensorFile } from '../../gguf.js'
import type { OriginalNames } from './tensor-pieces.js'

/** A file with fewer unneeded bytes than this is downloaded whole, so that it can be compared with its published hash. */
const leastSkipped = 1 << 20

/** Whether a tensor is needed, by its name; undefined where the whole file is downloaded. `networks`: the tables of the networks that are taken from the file. */
export function wantedTensors(
  tensors: TensorFile['tensors'],
  networks: readonly OriginalNames[],
): ((name: string) => boolean) | undefined {
  const isWanted = (name: string) => networks.some(({ prefix }) => name.startsWith(prefix))
  let skipped = 0
  for (const [name, { begin, end }] of tensors) if (!isWanted(name)) skipped += end - begin
  return skipped >= leastSkipped ? isWanted : undefined
}
