import { expect, test } from 'vitest'
import { planBlocks, planStreaming, type BlockPlan } from './blocks.js'

/** Simulates three runs as the backend executes them, and returns the peak bytes. Only the first run executes the first `once` blocks. */
function walk(blocks: readonly number[], plan: Pick<BlockPlan, 'keeps' | 'keptBytes' | 'overlaps'>, once = 0): number {
  const streamed = blocks.flatMap((bytes, index) => (plan.keeps[index] === false ? [{ bytes, index }] : []))
  const again = streamed.filter(({ index }) => index >= once)
  const order = [...streamed, ...again, ...again]
  let most = plan.keptBytes
  for (const [at, { bytes, index }] of order.entries()) {
    const next = order[at + 1]
    const ahead = plan.overlaps && next !== undefined && next.index !== index ? next.bytes : 0
    most = Math.max(most, plan.keptBytes + bytes + ahead)
  }
  return most
}

test('blocks that fit are kept', () => {
  expect(planBlocks([5, 3, 2], 10)).toMatchObject({ keeps: [true, true, true], streamedBytes: 0, ringBytes: 0, peakBytes: 10 })
})

test('equal blocks: the ring has two slots, and the other blocks are kept', () => {
  const plan = planBlocks(
    Array.from({ length: 10 }, () => 10),
    60,
  )
  expect(plan).toMatchObject({ keptBytes: 40, ringBytes: 20, streamedBytes: 60, overlaps: true, peakBytes: 60 })
})

test('the ring has one slot if two do not fit; a budget below the largest block is exceeded by that block', () => {
  expect(planBlocks([10, 10, 10], 15)).toMatchObject({ overlaps: false, ringBytes: 10, keptBytes: 0, streamedBytes: 30 })
  expect(planBlocks([10, 4, 10], 9)).toMatchObject({ overlaps: false, keptBytes: 0, peakBytes: 10 })
})

test('a large block among small ones is kept, because streaming it would enlarge the ring', () => {
  expect(planBlocks([2, 50, 2, 2, 2], 55)).toMatchObject({ keeps: [false, true, false, false, false], ringBytes: 4 })
})

test('blocks without weights take no memory', () => {
  const plan = planBlocks([0, 8, 0, 8, 8], 16)
  expect(plan.keeps[0] && plan.keeps[2]).toBe(true)
  expect(plan.ringBytes).toBe(16)
})

/** Plans for budgets from the largest block's bytes to slightly more than all blocks, `step()` bytes apart, and checks each plan. */
function checkBudgets(blocks: readonly number[], step: () => number, once = 0): void {
  const total = blocks.reduce((sum, bytes) => sum + bytes, 0)
  const first = blocks.slice(0, once).reduce((sum, bytes) => sum + bytes, 0)
  let before = total
  for (let budget = Math.max(...blocks); budget <= total + 5; budget += step()) {
    const plan = planBlocks(blocks, budget, once)
    const what = `${JSON.stringify(blocks)} within ${budget}`
    expect(walk(blocks, plan, once), what).toBeLessThanOrEqual(plan.peakBytes)
    expect(plan.peakBytes, what).toBeLessThanOrEqual(budget)
    expect(plan.keptBytes + plan.streamedBytes, what).toBe(budget < total ? total - first : total)
    expect(plan.streamedBytes, what).toBeLessThanOrEqual(before)
    before = plan.streamedBytes
  }
  expect(planBlocks(blocks, total, once).streamedBytes).toBe(0)
}

test('a budget that is one byte larger never streams more', () => {
  for (const blocks of [
    [3, 20, 18, 2, 18, 17, 8, 1],
    [10, 10, 1, 1, 1, 10],
    [4, 0, 9, 9, 0, 4, 30],
  ])
    checkBudgets(blocks, () => 1)
})

test('blocks that only the first run uses are kept if everything fits; otherwise they leave as much space to the blocks of every run', () => {
  expect(planBlocks([5, 5, 10, 10, 10], 40, 2).keeps).toEqual([true, true, true, true, true])
  const plan = planBlocks([5, 5, 10, 10, 10], 39, 2)
  expect(plan).toMatchObject({ keeps: [false, false, true, true, false], keptBytes: 20, streamedBytes: 10, ringBytes: 15 })
  expect(planStreaming([4, 9, 3], 13, 1)).toMatchObject({ overlaps: true, ringBytes: 13, streamedBytes: 12 })
  for (const once of [1, 2, 4]) checkBudgets([3, 20, 18, 2, 18, 17, 8, 1], () => 1, once)
})

test('in the bytes that another plan leaves, blocks are streamed ahead or one by one, or there is no plan', () => {
  expect(planStreaming([4, 0, 9, 3], 13)).toMatchObject({ overlaps: true, ringBytes: 13, keptBytes: 0, streamedBytes: 16 })
  expect(planStreaming([4, 0, 9, 3], 12)).toMatchObject({ overlaps: false, ringBytes: 9 })
  expect(planStreaming([4, 0, 9, 3], 8)).toBeUndefined()
  expect(planStreaming([0, 0], 0)).toMatchObject({ streamedBytes: 0 })
})

test('for any blocks and budget: the peak is exact and within the budget, and a larger budget never streams more', () => {
  let state = 1
  const random = (below: number) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
  for (let round = 0; round < 40; round++) {
    const kinds = Array.from({ length: 1 + random(8) }, () => 1 + random(100))
    const [count, isNetwork] = [1 + random(30), round % 2 === 0]
    const blocks = Array.from({ length: count }, () => (isNetwork ? (kinds[random(kinds.length)] ?? 0) : random(100)))
    checkBudgets(blocks, () => 1 + random(60))
  }
})

test('with a few blocks, no other choice streams much less', () => {
  let state = 5
  const random = (below: number) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
  for (let round = 0; round < 40; round++) {
    const blocks = Array.from({ length: 2 + random(7) }, () => 1 + random(30))
    const [total, largest] = [blocks.reduce((sum, bytes) => sum + bytes, 0), Math.max(...blocks)]
    const budget = 2 * largest + random(Math.max(1, total - 2 * largest))
    let least = total
    for (let set = 0; set < 2 ** blocks.length; set++) {
      const keeps = blocks.map((_, index) => ((set >> index) & 1) === 1)
      const keptBytes = blocks.reduce((sum, bytes, index) => sum + (keeps[index] === true ? bytes : 0), 0)
      if (walk(blocks, { keeps, keptBytes, overlaps: true }) <= budget) least = Math.min(least, total - keptBytes)
    }
    expect(planBlocks(blocks, budget).streamedBytes).toBeLessThanOrEqual(least + largest)
  }
})
