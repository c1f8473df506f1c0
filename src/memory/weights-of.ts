/** Which tensors of a checkpoint a set of stages binds, in which types. Pure. */

import type { TensorEntry, WeightTable } from '../checkpoint/types.js'
import { CheckpointError } from '../errors.js'
import type { ElementType, Stage } from '../onnx/types.js'
import { checkConvertible, valueBytes } from '../checkpoint/element-types.js'

/** A tensor of the checkpoint in one type: weights tied to one tensor are one of these. */
export interface WeightKey {
  readonly key: string
  readonly entry: TensorEntry
  readonly type: ElementType
  /** The elements' bytes. */
  readonly bytes: number
}

/** The key of a tensor in a type. */
export function weightKey(tensor: string, type: ElementType): string {
  return `${type} ${tensor}`
}

/** The weights that stages bind, each once. @throws CheckpointError `tensor-missing`, `shape-mismatch`, `dtype-not-convertible` */
export function weightsOf(stages: Iterable<Stage>, table: WeightTable): Map<string, WeightKey> {
  const found = new Map<string, WeightKey>()
  for (const stage of stages) {
    for (const { name, type, dims } of stage.program.weights) {
      const tensor = stage.weights[name] ?? name
      const key = weightKey(tensor, type)
      const entry = table.get(tensor)
      if (entry === undefined) {
        const message = `${stage.name} needs the tensor ${tensor}, which the checkpoint does not have.`
        throw new CheckpointError('tensor-missing', message, { tensor, stage: stage.name })
      }
      checkConvertible(entry, type, dims)
      found.set(key, { key, entry, type, bytes: valueBytes(type, dims) })
    }
  }
  return found
}
