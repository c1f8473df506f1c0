/** The tensors of a LoRA's branches as a network takes them. If a file has one matrix for several layers, each layer gets its rows. */

import type { LoraModule } from '../../../checkpoint/lora/lora-file.js'
import type { MatchedBranch, MatchedLora } from '../../../checkpoint/lora/match-lora.js'
import type { TensorEntry } from '../../../checkpoint/types.js'
import type { ByteSource } from '../../../hub/types.js'
import type { LayerFactors } from '../../network-adapters.js'

/** The branches of one network, by layer. `scalings`: what the branches are multiplied by, 1 unless given. */
export function layerFactors(
  branches: ReadonlyMap<string, MatchedBranch>,
  source: ByteSource,
  scalings: ReadonlyMap<LoraModule, number>,
): ReadonlyMap<string, LayerFactors> {
  return new Map([...branches].map(([layer, branch]) => [layer, factorsOf(branch, source, scalings.get(branch.module) ?? 1)]))
}

/** The names of the tensors that have one row for each row of the layer's weight. */
const byRow: ReadonlySet<string> = new Set(['lora_B', 'lora_B_bias', 'lora_magnitude_vector', 'hada_w1_a', 'hada_w2_a'])

function factorsOf(branch: MatchedBranch, source: ByteSource, scaling: number): LayerFactors {
  const { module, firstRow } = branch
  const { form } = module
  const tensors = new Map(
    [...module.tensors].map(([part, tensor]) => {
      // peft stores the magnitude of a convolution as [1, rows, 1, 1].
      const shape = part === 'lora_magnitude_vector' ? [module.rows] : tensor.shape
      const entry = { ...tensor, shape, source }
      return [part, byRow.has(part) ? rowsOf(entry, branch) : entry]
    }),
  )
  // The factors of a Kronecker product cannot be cut, so the layer's rows are cut out of the product.
  return { form: form.kind === 'kronecker' ? { ...form, firstRow } : form, tensors, scaling }
}

/** A tensor's rows for one layer. */
function rowsOf(entry: TensorEntry, { module, firstRow, rows }: MatchedBranch): TensorEntry {
  if (rows === module.rows) return entry
  const row = (entry.end - entry.begin) / module.rows
  const begin = entry.begin + firstRow * row
  return { ...entry, shape: [rows, ...entry.shape.slice(1)], begin, end: begin + rows * row }
}

/** Bytes of the factors: those that several layers share count once. */
export function bytesOfLora({ components }: MatchedLora): number {
  let sum = 0
  for (const branches of components.values())
    for (const { tensors } of new Set([...branches.values()].map(({ module }) => module)))
      for (const { begin, end } of tensors.values()) sum += end - begin
  return sum
}
