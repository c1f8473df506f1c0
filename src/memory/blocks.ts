/**
 * Which blocks of a component keep their weights and which pass through the ring, for a budget in bytes. Pure. A streamed block's
 * weights are on the device while it runs and, so that no time is lost, while the one before it runs; a bigger budget keeps
 * more blocks and never streams more. That holds because the budget only chooses: the plans to choose from come from the blocks alone.
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

/** Sums of blocks' bytes that are told apart. More of them lose no more than this share of all bytes. */
const mostSums = 256

/** The most that the streamed ones of `blocks` hold at once, the last and the first being neighbours (a run follows a run). */
function ringOf(blocks: readonly number[], keeps: readonly boolean[], overlaps: boolean): number {
  let [first, before, largest, pair] = [0, 0, 0, 0]
  for (const [index, bytes] of blocks.entries()) {
    if (bytes === 0 || keeps[index] === true) continue
    if (before === 0) first = bytes
    else pair = Math.max(pair, before + bytes)
    before = bytes
    largest = Math.max(largest, bytes)
  }
  if (!overlaps || pair === 0) return largest
  return Math.max(pair, before + first)
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

/** A set of blocks, as the one added last and the rest. */
interface Chosen {
  readonly index: number
  readonly rest: Chosen | undefined
}

/** A set of blocks to keep, and their bytes. */
interface Candidate {
  readonly keptBytes: number
  readonly chosen: Chosen | undefined
  /** Blocks of more bytes are kept too, and counted. */
  readonly most: number
}

/**
 * Sets of blocks that may stay, the largest sums first. The smaller the largest streamed block, the smaller the ring, so for each size all
 * that is larger is kept; of the rest, one set for each sum that some set of them has.
 */
function candidates(blocks: readonly number[]): readonly Candidate[] {
  const total = blocks.reduce((sum, bytes) => sum + bytes, 0)
  const bySize = blocks.map((bytes, index) => ({ bytes, index })).toSorted((a, b) => a.bytes - b.bytes || a.index - b.index)
  const found: Candidate[] = []
  let sums = new Map<number, Chosen | undefined>([[0, undefined]])
  let smaller = 0
  for (const [at, { bytes, index }] of bySize.entries()) {
    smaller += bytes
    if (bytes === 0) continue
    const more = new Map(sums)
    for (const [sum, rest] of sums) if (!more.has(sum + bytes)) more.set(sum + bytes, { index, rest })
    sums = more.size > mostSums ? thinned(more, total) : more
    // The last of its size: what is left is larger.
    if (bySize[at + 1]?.bytes === bytes) continue
    for (const [sum, chosen] of sums) found.push({ keptBytes: total - smaller + sum, chosen, most: bytes })
  }
  return found.toSorted((a, b) => b.keptBytes - a.keptBytes)
}

/** One sum of each of {@link mostSums} equal ranges up to `total`. */
function thinned(sums: ReadonlyMap<number, Chosen | undefined>, total: number): Map<number, Chosen | undefined> {
  const kept = new Map<number, [number, Chosen | undefined]>()
  for (const [sum, chosen] of sums) {
    const range = Math.floor((sum / total) * (mostSums - 1))
    const known = kept.get(range)
    if (known === undefined || known[0] < sum) kept.set(range, [sum, chosen])
  }
  return new Map(kept.values())
}

function planOf(blocks: readonly number[], { chosen, most }: Candidate, overlaps: boolean): BlockPlan {
  const keeps = blocks.map((bytes) => bytes > most || bytes === 0)
  for (let one = chosen; one !== undefined; one = one.rest) keeps[one.index] = true
  return describe(blocks, keeps, overlaps)
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
  const needed = Math.max(...blocks)
  if (needed > budget)
    throw new DeviceError(
      'does-not-fit',
      `${name} needs ${needed} bytes for its largest block; ${budget} are left for weights.`,
      { component: name, needed, offered: budget },
    )
  const sets = candidates(blocks)
  const ahead = best(blocks, sets, true, budget)
  if (ahead !== undefined) return ahead
  // Below the least that streaming ahead takes no more is kept than there, so that more memory never means more to stream.
  const leastAhead = sets.reduceRight<BlockPlan | undefined>((least, set) => {
    if (least !== undefined && set.keptBytes > least.peakBytes) return least
    const plan = planOf(blocks, set, true)
    return least === undefined || plan.peakBytes < least.peakBytes ? plan : least
  }, undefined)
  const apart = sets.filter(({ keptBytes }) => keptBytes <= (leastAhead?.keptBytes ?? 0))
  // That nothing stays is always among them.
  return (
    best(blocks, apart, false, budget) ??
    describe(
      blocks,
      blocks.map((bytes) => bytes === 0),
      false,
    )
  )
}

/** The plan that keeps none of `blocks` and streams them within `budget`, ahead where there is room for that. Undefined: there is no room. */
export function planStreaming(blocks: readonly number[], budget: number): BlockPlan | undefined {
  const keeps = blocks.map((bytes) => bytes === 0)
  return [true, false].map((overlaps) => describe(blocks, keeps, overlaps)).find(({ peakBytes }) => peakBytes <= budget)
}

/** The first, so the one that keeps most, whose peak is within the budget. */
function best(blocks: readonly number[], sets: readonly Candidate[], overlaps: boolean, budget: number): BlockPlan | undefined {
  for (const set of sets) {
    if (set.keptBytes > budget) continue
    const plan = planOf(blocks, set, overlaps)
    if (plan.peakBytes <= budget) return plan
  }
  return undefined
}
