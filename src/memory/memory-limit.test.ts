import { expect, test } from 'vitest'
import type { ComponentNeeds } from './needs.js'
import { MemoryLimit, type KnownMemory } from './memory-limit.js'
import { canShrink, leastBudget, planMemory, type ComponentPlan, type MemoryPlan } from './plan.js'
import { isRefusal, orThrow, type Refusal } from './refusal.js'

/** Ten blocks of 100 bytes and two of 10, 20 bytes of shared weights, and 50 bytes of activations. */
const unet: ComponentNeeds = {
  name: 'unet',
  blocks: Array.from({ length: 12 }, (_, index) => ({ name: `${index}`, bytes: index % 6 === 5 ? 10 : 100 })),
  sharedBytes: 20,
  largestWeight: { name: '0', bytes: 100 },
  ways: [{ activationBytes: 50, largestValue: { name: 'x', bytes: 10 }, inputs: [] }],
}

/** The plan of a generation that streams blocks, beside `heldBytes`. Without a budget nothing is refused. */
function planned(memory: MemoryLimit, heldBytes = 0): ComponentPlan {
  const least = leastBudget([unet], 'block', heldBytes)
  const plan = ({ maxMemory = Math.max(memory.bytes ?? 1e6, least), ...known }: KnownMemory): MemoryPlan | Refusal =>
    planMemory([unet], { offload: 'block', maxMemory, heldBytes, ...known })
  const found = memory.found === undefined ? undefined : plan(memory.found)
  return orThrow(found === undefined || isRefusal(found) ? plan(memory.allowed) : found).components[0]!
}

const budget = (memory: MemoryLimit, heldBytes?: number) => planned(memory, heldBytes).weightBudget

/** Every weight budget that is tried until there is no smaller one. */
function shrinking(memory: MemoryLimit): (number | undefined)[] {
  const budgets: (number | undefined)[] = []
  for (;;) {
    const plan = planned(memory)
    budgets.push(plan.weightBudget)
    if (!canShrink(plan)) return budgets
    memory.shrink(plan.name, plan.weightBudget ?? plan.weightBytes)
  }
}

test('the weight budget is what is left beside a run', () => {
  expect(budget(new MemoryLimit(undefined, undefined), 0)).toBeUndefined()
  expect(budget(new MemoryLimit(1090, undefined), 0)).toBeUndefined()
  expect(budget(new MemoryLimit(1089, undefined), 0)).toBe(1039)
  expect(budget(new MemoryLimit(undefined, 600), 30)).toBe(520)
})

test('only the caller’s limit refuses a plan; beyond a guessed or a measured limit, weights take as little memory as possible', () => {
  const strict = new MemoryLimit(160, undefined)
  expect(() => planned(strict)).toThrow(
    expect.objectContaining({ code: 'does-not-fit', details: expect.objectContaining({ offered: 160 }) }),
  )
  expect(budget(new MemoryLimit(undefined, 160), 0)).toBe(220)
  const seen = new MemoryLimit(1000, undefined)
  seen.limitTo(2000)
  expect(seen.bytes).toBe(1000)
  seen.limitTo(160)
  expect([seen.bytes, budget(seen)]).toEqual([160, 220])
})

test('a guess is no limit', () => {
  const guessed = new MemoryLimit(undefined, 4000)
  expect([guessed.bytes, guessed.limit]).toEqual([4000, undefined])
  guessed.limitTo(3000)
  expect([guessed.bytes, guessed.limit]).toEqual([3000, 3000])
  expect(new MemoryLimit(2000, 4000).limit).toBe(2000)
})

test('after each failure weights get less, down to one block at a time', () => {
  const rooms = shrinking(new MemoryLimit(undefined, 4000))
  expect(rooms).toEqual([undefined, 220, 120])
})

test('plans are made again with three quarters of the memory found', () => {
  const budgets = new MemoryLimit(undefined, 4000)
  budgets.limitTo(1000)
  const rooms = shrinking(budgets)
  expect(rooms).toEqual([950, 700, 512, 371, 265, 186, 127, 120])
  expect(new Set(rooms).size).toBe(rooms.length)
})
