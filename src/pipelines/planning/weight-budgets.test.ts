import { expect, test } from 'vitest'
import type { ComponentNeeds } from '../../memory/needs.js'
import { WeightBudgets } from './weight-budgets.js'

/** Ten blocks of 100 bytes, two of them neighbours of 10, and 50 beside weights. */
const unet: ComponentNeeds = {
  name: 'unet',
  blocks: Array.from({ length: 12 }, (_, index) => ({ name: `${index}`, bytes: index % 6 === 5 ? 10 : 100 })),
  sharedBytes: 20,
  largestWeight: { name: '0', bytes: 100 },
  ways: [{ activationBytes: 50, largestValue: { name: 'x', bytes: 10 }, inputs: [] }],
}

/** Every room that is tried until there is no less. */
function shrinking(budgets: WeightBudgets, held = 0): (number | undefined)[] {
  const budget: (number | undefined)[] = []
  for (;;) {
    const room = budgets.room(unet, held)
    budget.push(room.budget)
    if (room.bytes <= room.least) return budget
    budgets.shrink(room)
  }
}

test('what a budget leaves beside a run', () => {
  expect(new WeightBudgets(undefined, undefined).room(unet, 0).budget).toBeUndefined()
  expect(new WeightBudgets(1090, undefined).room(unet, 0).budget).toBeUndefined()
  expect(new WeightBudgets(1089, undefined).room(unet, 0).budget).toBe(1039)
  expect(new WeightBudgets(undefined, 600).room(unet, 30).budget).toBe(520)
})

test('what the caller allows is kept to; a guess, and what a device was seen to have, only ask for as little as possible', () => {
  const strict = new WeightBudgets(160, undefined)
  expect(() => strict.room(unet, 0)).toThrow(
    expect.objectContaining({ code: 'does-not-fit', details: expect.objectContaining({ offered: 160 }) }),
  )
  expect(new WeightBudgets(undefined, 160).room(unet, 0).budget).toBe(220)
  const seen = new WeightBudgets(1000, undefined)
  seen.limitTo(2000)
  expect(seen.budget).toBe(1000)
  seen.limitTo(160)
  expect([seen.budget, seen.room(unet, 0).budget]).toEqual([160, 220])
})

test('a guess is no limit', () => {
  const guessed = new WeightBudgets(undefined, 4000)
  expect([guessed.budget, guessed.limit]).toEqual([4000, undefined])
  guessed.limitTo(3000)
  expect([guessed.budget, guessed.limit]).toEqual([3000, 3000])
  expect(new WeightBudgets(2000, 4000).limit).toBe(2000)
})

test('without room it is less each time, down to one block at a time', () => {
  const rooms = shrinking(new WeightBudgets(undefined, 4000))
  expect(rooms).toEqual([undefined, 220, 120])
})

test('from what the device was seen to have, the budget is planned with again', () => {
  const budgets = new WeightBudgets(undefined, 4000)
  budgets.limitTo(1000)
  const rooms = shrinking(budgets)
  expect(rooms).toEqual([950, 700, 512, 371, 265, 186, 127, 120])
  expect(new Set(rooms).size).toBe(rooms.length)
})
