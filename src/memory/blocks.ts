/**
 * Decides which blocks of a component keep their weights on the device and which are streamed, for a budget in bytes. Pure.
 *
 * A streamed block's weights are on the device while it runs and, so that the GPU does not wait, while the block before it runs: they share
 * a ring of buffers. Keeping blocks is a knapsack problem, and the ring grows with the largest streamed block. So for
 * each block size, all larger blocks are kept, and sets of the other blocks are tried: one set for each sum of bytes that a set can have. Two
 * sets of almost the same sum are equally good, so at most {@link mostSums} different sums are tried.
 *
 * The first blocks may be those that only the first run of a generation uses. They are kept if all blocks are kept; otherwise that run
 * streams them. `once` is their number.
 *
 * With a larger budget, a run never uploads more: the sets to choose from depend on the blocks alone, and a larger budget admits
 * more of them.
 */

/** How one component's blocks share a budget. */
export interface BlockPlan {
  /** For each block in order, whether it stays. */
  readonly keeps: readonly boolean[]
  /** Whether each streamed block is uploaded while the block before it runs. Otherwise it is uploaded when it is needed. */
  readonly overlaps: boolean
  readonly keptBytes: number
  /** The most that streamed blocks take at once. */
  readonly ringBytes: number
  /** Bytes that each run uploads, after the first one. */
  readonly streamedBytes: number
  /** `keptBytes + ringBytes`: within the budget, unless one block alone is larger than the budget. */
  readonly peakBytes: number
}

/**
 * The most sums of blocks' bytes that are remembered. If there are more sums, the chosen set may keep fewer bytes than
 * the best one.
 */
const mostSums = 256

/** The most that the streamed blocks take at once. The last block of a run is followed by the first block of the next run. */
function ringOf(blocks: readonly number[], keeps: readonly boolean[], overlaps: boolean, once: number): number {
  let [first, before, largest, pair, repeated] = [0, 0, 0, 0, 0]
  for (const [index, bytes] of blocks.entries()) {
    if (bytes === 0 || keeps[index] === true) continue
    if (index >= once && repeated++ === 0) first = bytes
    if (before > 0) pair = Math.max(pair, before + bytes)
    before = bytes
    largest = Math.max(largest, bytes)
  }
  if (!overlaps) return largest
  return Math.max(largest, pair, repeated > 1 ? before + first : 0)
}

function describe(blocks: readonly number[], keeps: readonly boolean[], overlaps: boolean, once: number): BlockPlan {
  let keptBytes = 0
  let streamedBytes = 0
  for (const [index, bytes] of blocks.entries()) {
    if (keeps[index] === true) keptBytes += bytes
    else if (index >= once) streamedBytes += bytes
  }
  const ringBytes = ringOf(blocks, keeps, overlaps, once)
  return { keeps, overlaps, keptBytes, ringBytes, streamedBytes, peakBytes: keptBytes + ringBytes }
}

/** A set of blocks as a list: the block added last, and the rest. */
interface Chosen {
  readonly index: number
  readonly rest: Chosen | undefined
}

/** A set of blocks to keep, and their bytes. */
interface Candidate {
  readonly keptBytes: number
  readonly chosen: Chosen | undefined
  /** All blocks of more bytes than this are kept too, and `keptBytes` includes them. */
  readonly most: number
}

/** The sets of blocks to choose from, the largest sum of bytes first: see the top of this file. */
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
    // A set is complete once the last block of a size has been added: all remaining blocks are larger.
    if (bySize[at + 1]?.bytes === bytes) continue
    for (const [sum, chosen] of sums) found.push({ keptBytes: total - smaller + sum, chosen, most: bytes })
  }
  return found.toSorted((a, b) => b.keptBytes - a.keptBytes)
}

/** Divides 0 to `total` into equal ranges and keeps the largest sum in each range, so that at most {@link mostSums} sums remain. */
function thinned(sums: ReadonlyMap<number, Chosen | undefined>, total: number): Map<number, Chosen | undefined> {
  const kept = new Map<number, [number, Chosen | undefined]>()
  for (const [sum, chosen] of sums) {
    const range = Math.floor((sum / total) * (mostSums - 1))
    const known = kept.get(range)
    if (known === undefined || known[0] < sum) kept.set(range, [sum, chosen])
  }
  return new Map(kept.values())
}

function planOf(blocks: readonly number[], { chosen, most }: Candidate, overlaps: boolean, once: number): BlockPlan {
  const keeps = blocks.map((bytes, index) => (bytes > most && index >= once) || bytes === 0)
  for (let one = chosen; one !== undefined; one = one.rest) keeps[one.index] = true
  return describe(blocks, keeps, overlaps, once)
}

/**
 * The plan that streams least within `budget` bytes, given the bytes of each block in the order they run. Streaming ahead is preferred to
 * keeping more blocks. If the largest block alone is over the budget, nothing is kept and the peak is over the budget too.
 */
export function planBlocks(blocks: readonly number[], budget: number, once = 0): BlockPlan {
  const total = blocks.reduce((sum, bytes) => sum + bytes, 0)
  if (total <= budget)
    return describe(
      blocks,
      blocks.map(() => true),
      true,
      once,
    )
  const sets = candidates(blocks.map((bytes, index) => (index < once ? 0 : bytes)))
  const ahead = best(blocks, sets, true, budget, once)
  if (ahead !== undefined) return ahead
  // Below the smallest budget that streams ahead, keep no more than the plan for that budget: more memory must never stream more.
  const leastAhead = sets.reduceRight<BlockPlan | undefined>((least, set) => {
    if (least !== undefined && set.keptBytes > least.peakBytes) return least
    const plan = planOf(blocks, set, true, once)
    return least === undefined || plan.peakBytes < least.peakBytes ? plan : least
  }, undefined)
  const apart = sets.filter(({ keptBytes }) => keptBytes <= (leastAhead?.keptBytes ?? 0))
  return (
    best(blocks, apart, false, budget, once) ??
    describe(
      blocks,
      blocks.map((bytes) => bytes === 0),
      false,
      once,
    )
  )
}

/** The plan that keeps none of `blocks` and streams them within `budget` bytes, ahead if that fits. Undefined: one block alone does not fit. */
export function planStreaming(blocks: readonly number[], budget: number, once = 0): BlockPlan | undefined {
  const keeps = blocks.map((bytes) => bytes === 0)
  return [true, false].map((overlaps) => describe(blocks, keeps, overlaps, once)).find(({ peakBytes }) => peakBytes <= budget)
}

/** The plan of the first set whose peak is within the budget. The sets are sorted, so this set keeps most. */
function best(
  blocks: readonly number[],
  sets: readonly Candidate[],
  overlaps: boolean,
  budget: number,
  once: number,
): BlockPlan | undefined {
  for (const set of sets) {
    if (set.keptBytes > budget) continue
    const plan = planOf(blocks, set, overlaps, once)
    if (plan.peakBytes <= budget) return plan
  }
  return undefined
}
