/**
 * Which blocks of a component keep their weights and which pass through the ring, for a budget in bytes. Pure. A streamed block's
 * weights are on the device while it runs and, so that no time is lost, while the one before it runs; a bigger budget keeps
 * more blocks and streams less.
 */

import { DeviceError } from '../errors.js'

/** How one component's blocks share a budget. */
export interface BlockPlan {
  /** For each block in order, whether it stays. */
  readonly keeps: readonly boolean[]
  /** Whether the next streamed block comes while one runs; without, each comes when it is needed. */
  readonly overlaps: boolean
  readonly keptBytes: number
  /** The most that streamed blocks hold at once. */
  readonly ringBytes: number
  /** What a run uploads. */
  readonly streamedBytes: number
  /** `keptBytes + ringBytes`: never more than the budget. */
  readonly peakBytes: number
}

/** The most that the streamed ones of `blocks` hold at once, the last and the first being neighbours (a run follows a run). */
function ringOf(blocks: readonly number[], keeps: readonly boolean[], overlaps: boolean): number {
  const streamed = blocks.filter((bytes, index) => bytes > 0 && keeps[index] === false)
  if (!overlaps || streamed.length < 2) return Math.max(0, ...streamed)
  return Math.max(...streamed.map((bytes, index) => bytes + (streamed[(index + 1) % streamed.length] ?? 0)))
}

function describe(blocks: readonly number[], keeps: readonly boolean[], overlaps: boolean): BlockPlan {
  let keptBytes = 0
  let streamedBytes = 0
  for (const [index, bytes] of blocks.entries()) {
    if (keeps[index] === true) keptBytes += bytes
    else streamedBytes += bytes
  }
  const ringBytes = ringOf(blocks, keeps, overlaps)
  return { keeps, overlaps, keptBytes, ringBytes, streamedBytes, peakBytes: keptBytes + ringBytes }
}

/** Keeps every block larger than `most`, then what else fits, the largest first. Undefined when the budget does not do. */
function fill(blocks: readonly number[], budget: number, overlaps: boolean, most: number): BlockPlan | undefined {
  const keeps = blocks.map((bytes) => bytes > most || bytes === 0)
  let plan = describe(blocks, keeps, overlaps)
  if (plan.peakBytes > budget) return undefined
  const bySize = blocks.map((bytes, index) => ({ bytes, index })).toSorted((a, b) => b.bytes - a.bytes || a.index - b.index)
  for (const { bytes, index } of bySize) {
    if (keeps[index] === true || plan.keptBytes + bytes > budget) continue
    keeps[index] = true
    const more = describe(blocks, [...keeps], overlaps)
    if (more.peakBytes <= budget) plan = more
    else keeps[index] = false
  }
  return plan
}

/**
 * The plan that streams least within `budget`, given the bytes of each block in the order they run. Streaming ahead is preferred to
 * keeping more. @throws DeviceError `does-not-fit` when the largest block alone is over the budget
 */
export function planBlocks(blocks: readonly number[], budget: number, name = 'The component'): BlockPlan {
  const total = blocks.reduce((sum, bytes) => sum + bytes, 0)
  if (total <= budget)
    return describe(
      blocks,
      blocks.map(() => true),
      true,
    )
  // The smaller the largest streamed block, the smaller the ring: all cuts are tried.
  const cuts = [...new Set(blocks)]
  for (const overlaps of [true, false]) {
    const plans = cuts.flatMap((most) => fill(blocks, budget, overlaps, most) ?? [])
    const best = plans.reduce<BlockPlan | undefined>(
      (a, b) => (a === undefined || b.streamedBytes < a.streamedBytes ? b : a),
      undefined,
    )
    if (best !== undefined) return best
  }
  const needed = Math.max(...blocks)
  throw new DeviceError('does-not-fit', `${name} needs ${needed} bytes for its largest block; ${budget} are left for weights.`, {
    component: name,
    needed,
    offered: budget,
  })
}
