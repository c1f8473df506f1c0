/** A graph's weights by stage, and the bytes of buffers they take. Pure: what plans are made of. */

import type { WeightTable, TensorEntry } from '../checkpoint/types.js'
import type { Stage, ElementType } from '../onnx/types.js'
import { planBlocks, type BlockPlan } from './blocks.js'
import { storageBytes } from './storage-bytes.js'
import { CheckpointError } from '../errors.js'
import { checkConvertible, valueBytes } from '../checkpoint/element-types.js'

/** What each stage of a graph needs, and what several of them share. */
export interface StageWeights {
  /** For each stage, the weights that only it uses. */
  readonly own: readonly (readonly WeightKey[])[]
  /** Weights that more than one stage uses; they always stay. */
  readonly shared: readonly WeightKey[]
}

/** Bytes of buffers for these weights. */
export function bufferBytes(weights: Iterable<WeightKey>): number {
  let sum = 0
  for (const { bytes } of weights) sum += storageBytes(bytes)
  return sum
}

/** Splits a graph's weights by stage. @throws CheckpointError as {@link weightsOf} */
export function stageWeights(stages: readonly Stage[], table: WeightTable): StageWeights {
  const perStage = stages.map((stage) => weightsOf([stage], table))
  const uses = new Map<string, number>()
  for (const weights of perStage) for (const key of weights.keys()) uses.set(key, (uses.get(key) ?? 0) + 1)
  const shared = new Map<string, WeightKey>()
  const own = perStage.map((weights) =>
    [...weights.values()].filter((weight) => {
      if (uses.get(weight.key) === 1) return true
      shared.set(weight.key, weight)
      return false
    }),
  )
  return { own, shared: [...shared.values()] }
}

/** The plan for a graph's stages within `budget` bytes of buffers. @throws DeviceError `does-not-fit` */
export function planStages({ own, shared }: StageWeights, budget: number, name: string): BlockPlan {
  return planBlocks(own.map(bufferBytes), budget - bufferBytes(shared), name)
}

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
