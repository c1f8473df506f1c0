/** A graph's weights by stage, and the bytes of buffers they take. Pure: what plans are made of. */

import type { WeightTable } from '../checkpoint/types.js'
import type { Stage } from '../onnx/types.js'
import { planBlocks, type BlockPlan } from './blocks.js'
import { storageBytes } from '../runtime/webgpu/gpu-buffers.js'
import { weightsOf, type WeightKey } from './weights-of.js'

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
