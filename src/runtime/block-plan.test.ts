import { expect, test } from 'vitest'
import { isAquatintError } from '../errors.js'
import { planBlocks } from './block-plan.js'

/** Walks a run twice, as the backend does, and gives the most bytes held. */
function walk(blocks: readonly number[], plan: ReturnType<typeof planBlocks>): number {
  const streamed = blocks.flatMap((bytes, index) => (plan.keeps[index] === false ? [bytes] : []))
  let most = plan.keptBytes
  for (let at = 0; at < 2 * streamed.length; at++) {
    const now = streamed[at % streamed.length] ?? 0
    const next = plan.overlaps && streamed.length > 1 ? (streamed[(at + 1) % streamed.length] ?? 0) : 0
    most = Math.max(most, plan.keptBytes + now + next)
  }
  return most
}

test('what fits stays', () => {
  expect(planBlocks([5, 3, 2], 10)).toMatchObject({ keeps: [true, true, true], streamedBytes: 0, ringBytes: 0, peakBytes: 10 })
})

test('equal blocks: two slots for the ring, the rest stay', () => {
  const plan = planBlocks(
    Array.from({ length: 10 }, () => 10),
    60,
  )
  expect(plan).toMatchObject({ keptBytes: 40, ringBytes: 20, streamedBytes: 60, overlaps: true, peakBytes: 60 })
})

test('one slot when two are too many, and an error that says what one needs', () => {
  expect(planBlocks([10, 10, 10], 15)).toMatchObject({ overlaps: false, ringBytes: 10, keptBytes: 0, streamedBytes: 30 })
  let thrown: unknown
  try {
    planBlocks([10, 4, 10], 9, 'unet')
  } catch (error) {
    thrown = error
  }
  expect(isAquatintError(thrown) && thrown.code).toBe('does-not-fit')
  expect(thrown).toMatchObject({ details: { component: 'unet', needed: 10, offered: 9 } })
})

test('a large block among small ones stays rather than making the ring large', () => {
  expect(planBlocks([2, 50, 2, 2, 2], 55)).toMatchObject({ keeps: [false, true, false, false, false], ringBytes: 4 })
})

test('blocks without weights need no place', () => {
  const plan = planBlocks([0, 8, 0, 8, 8], 16)
  expect(plan.keeps[0] && plan.keeps[2]).toBe(true)
  expect(plan.ringBytes).toBe(16)
})

test('for any blocks and budget: the peak is what a walk finds, within the budget, and more budget never streams more', () => {
  let state = 1
  const random = (below: number) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
  for (let round = 0; round < 60; round++) {
    const blocks = Array.from({ length: 1 + random(30) }, () => random(100))
    const largest = Math.max(...blocks)
    let before: ReturnType<typeof planBlocks> | undefined
    for (let budget = largest; budget <= blocks.reduce((sum, bytes) => sum + bytes, 0) + 5; budget += 1 + random(40)) {
      const plan = planBlocks(blocks, budget)
      expect(walk(blocks, plan)).toBeLessThanOrEqual(plan.peakBytes)
      expect(plan.peakBytes).toBeLessThanOrEqual(budget)
      expect(plan.keptBytes + plan.streamedBytes).toBe(blocks.reduce((sum, bytes) => sum + bytes, 0))
      if (before?.overlaps === plan.overlaps) expect(plan.streamedBytes).toBeLessThanOrEqual(before.streamedBytes + largest)
      before = plan
    }
  }
})
