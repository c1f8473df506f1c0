/** The denoiser's inputs that are rows of a tensor of the checkpoint and depend on the size alone, such as a position table. */

import { decodeFloats, isFloatDType } from '../../checkpoint/element-types.js'
import { CheckpointError } from '../../errors.js'
import type { DenoiserModel, Extent, TableInput } from '../../models/types.js'
import type { HostTensor } from '../../runtime/types.js'
import { elementCount } from '../../util/element-count.js'
import type { Network } from '../bind-network.js'
import { float32Tensor } from '../tensors.js'

/**
 * Reads these inputs for a size in latent pixels, widened to float32. Returns them by name.
 * @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-mismatch`; AbortError
 */
export async function readTableInputs(
  network: Network<DenoiserModel>,
  size: Extent,
  signal: AbortSignal | undefined,
): Promise<Readonly<Record<string, HostTensor>>> {
  const inputs = Object.entries(network.model.tableInputs(size))
  return Object.fromEntries(await Promise.all(inputs.map(async ([name, rows]) => [name, await readRows(network, rows, signal)])))
}

async function readRows(
  { name, table }: Network,
  { tensor, shape, runs, dims }: TableInput,
  signal: AbortSignal | undefined,
): Promise<HostTensor> {
  const entry = table.get(tensor)
  if (entry === undefined) throw new CheckpointError('tensor-missing', `The ${name} has no ${tensor}.`, { tensor })
  if (entry.shape.join() !== shape.join())
    throw new CheckpointError(
      'shape-mismatch',
      `${tensor} has shape [${entry.shape.join(', ')}]; its config requires [${shape.join(', ')}].`,
      { tensor, actual: entry.shape, expected: shape },
    )
  const { dtype, source } = entry
  if (!isFloatDType(dtype))
    throw new CheckpointError('dtype-mismatch', `${tensor} holds ${dtype}; expected floats.`, { tensor, actual: dtype })
  const elementBytes = (entry.end - entry.begin) / elementCount(shape)
  const parts = await Promise.all(
    runs.map(async ({ begin, end }) =>
      decodeFloats(
        await source.read({ begin: entry.begin + begin * elementBytes, end: entry.begin + end * elementBytes }, { signal }),
        dtype,
      ),
    ),
  )
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(part, at)
    at += part.length
  }
  return float32Tensor(dims, data)
}
