import { expect, test } from 'vitest'
import { isAquatintError } from '../errors.js'
import type { ComponentNeeds } from './memory-estimate.js'
import { formatPlan, guessBudget, planMemory } from './memory-plan.js'

function needs(name: string, blocks: number[], activationBytes: number, more: Partial<ComponentNeeds> = {}): ComponentNeeds {
  return {
    name,
    blocks: blocks.map((bytes, index) => ({ name: `blocks.${index}`, bytes })),
    sharedBytes: 0,
    activationBytes,
    ...more,
  }
}

const pipeline = [
  needs('text_encoder', [100, 100], 10),
  needs('unet', [50, 200, 200, 200, 200, 50], 60),
  needs('vae', [80, 20], 300),
]

test('auto takes the fastest residence that fits', () => {
  expect(planMemory(pipeline, { offload: 'auto', maxMemory: 1500 })).toMatchObject({ residence: 'resident', peakBytes: 1500 })
  expect(planMemory(pipeline, { offload: 'auto', maxMemory: 1499 })).toMatchObject({ residence: 'model', peakBytes: 960 })
  const block = planMemory(pipeline, { offload: 'auto', maxMemory: 700 })
  expect(block.residence).toBe('block')
  expect(block.components.map(({ residence }) => residence)).toEqual(['model', 'block', 'model'])
  expect(block.components[1]).toMatchObject({ weightBudget: 640, activationBytes: 60 })
})

test('the peak never exceeds the budget, and a bigger one streams less', () => {
  const streamed = []
  for (const maxMemory of [500, 700, 800, 960]) {
    const plan = planMemory(pipeline, { offload: 'block', maxMemory })
    expect(plan.peakBytes).toBeLessThanOrEqual(maxMemory)
    streamed.push(plan.components[1]!.streamedBytes)
  }
  expect(streamed).toEqual(streamed.toSorted((a, b) => b - a))
  expect(streamed.at(-1)).toBe(0)
})

/** The error's code and details, or that there was none. */
function failure(offload: 'auto' | 'model', maxMemory: number): unknown {
  try {
    planMemory(pipeline, { offload, maxMemory })
  } catch (error) {
    return isAquatintError(error) ? { code: error.code, ...error.details } : error
  }
  return 'fits'
}

test('what fits nowhere says how many bytes it needs and what was offered', () => {
  expect(failure('model', 500)).toEqual({
    code: 'does-not-fit',
    component: 'unet',
    residence: 'model',
    needed: 960,
    offered: 500,
  })
  expect(failure('auto', 250)).toEqual({ code: 'does-not-fit', component: 'unet', residence: 'block', needed: 260, offered: 250 })
})

test('a decode that does not fit is tiled, and only then', () => {
  const parts = [needs('vae', [80, 20], 300, { tiledActivationBytes: 40 })]
  expect(planMemory(parts, { offload: 'auto', maxMemory: 400 }).components[0]).toMatchObject({
    tiled: false,
    activationBytes: 300,
  })
  expect(planMemory(parts, { offload: 'auto', maxMemory: 399 })).toMatchObject({
    peakBytes: 140,
    components: [{ tiled: true, residence: 'resident' }],
  })
})

test('shared weights always stay; what is held through the run counts', () => {
  const parts = [needs('transformer', [100, 100, 100, 100], 10, { sharedBytes: 50 })]
  const plan = planMemory(parts, { offload: 'block', maxMemory: 300, heldBytes: 20 })
  expect(plan.components[0]).toMatchObject({ weightBytes: 450, keptBytes: 50, peakWeightBytes: 250, weightBudget: 270 })
  expect(plan.peakBytes).toBe(280)
  expect(formatPlan(plan)).toMatch(/at most 280 B of 300 B, with 20 B for embeddings and latents$/)
})

test('a guess where no budget is given', () => {
  expect(guessBudget({ maxBufferSize: 2 ** 28 })).toBe(2 ** 30)
  expect(guessBudget({ maxBufferSize: 2 ** 31 })).toBe(2 ** 32)
  expect(guessBudget({ maxBufferSize: 2 ** 40 })).toBe(2 ** 33)
})

test('a plan for people', () => {
  expect(formatPlan(planMemory(pipeline, { offload: 'auto', maxMemory: 700 }))).toBe(
    [
      'component     residence  weights   stay  at most  per run  activations  blocks that stay',
      'text_encoder  model        200 B  200 B    200 B      0 B         10 B  2/2',
      'unet          block        900 B  200 B    600 B    700 B         60 B  1/6',
      'vae           model        100 B  100 B    100 B      0 B        300 B  2/2',
      'offload block: at most 660 B of 700 B',
    ].join('\n'),
  )
})
