import { expect, test } from 'vitest'
import { isRefusal, orThrow } from './refusal.js'
import type { ComponentNeeds, RunNeeds } from './needs.js'
import { guessBudget, planGeneration, planMemory, type MemoryOffer } from './plan.js'

const way = (activationBytes: number, more: Partial<RunNeeds> = {}): RunNeeds => ({
  activationBytes,
  largestValue: { name: 'Conv_0', bytes: activationBytes / 2 },
  inputs: [],
  ...more,
})

function needs(name: string, blocks: number[], activationBytes: number, more: Partial<ComponentNeeds> = {}): ComponentNeeds {
  return {
    name,
    blocks: blocks.map((bytes, index) => ({ name: `blocks.${index}`, bytes })),
    sharedBytes: 0,
    largestWeight: { name: 'blocks.1.weight', bytes: Math.max(...blocks) },
    ways: [way(activationBytes)],
    ...more,
  }
}

const planned = (...request: Parameters<typeof planMemory>) => orThrow(planMemory(...request))
const generation = (...request: Parameters<typeof planGeneration>) => orThrow(planGeneration(...request))

const pipeline = [
  needs('text_encoder', [100, 100], 10),
  needs('unet', [50, 200, 200, 200, 200, 50], 60),
  needs('vae', [80, 20], 300),
]

test('auto takes the fastest residence that fits', () => {
  expect(planned(pipeline, { offload: 'auto', maxMemory: 1500 })).toMatchObject({ residence: 'resident', peakBytes: 1500 })
  expect(planned(pipeline, { offload: 'auto', maxMemory: 1499 })).toMatchObject({ residence: 'model', peakBytes: 960 })
  const block = planned(pipeline, { offload: 'auto', maxMemory: 700 })
  expect(block.residence).toBe('block')
  expect(block.components.map(({ residence }) => residence)).toEqual(['model', 'block', 'model'])
  expect(block.components[1]).toMatchObject({ weightBudget: 640, activationBytes: 60 })
})

test('the peak never exceeds the budget, and a larger budget streams less', () => {
  const streamed = []
  for (const maxMemory of [500, 700, 800, 960]) {
    const plan = planned(pipeline, { offload: 'block', maxMemory })
    expect(plan.peakBytes).toBeLessThanOrEqual(maxMemory)
    streamed.push(plan.components[1]!.streamedBytes)
  }
  expect(streamed).toEqual(streamed.toSorted((a, b) => b - a))
  expect(streamed.at(-1)).toBe(0)
})

/** The refusal's code and details, or the plan. */
function failure(offload: 'auto' | 'model', maxMemory: number): unknown {
  const result = planMemory(pipeline, { offload, maxMemory })
  return isRefusal(result) ? { code: result.refused, ...result.details } : result
}

test('a refusal says how many bytes are needed and how many are offered', () => {
  expect(failure('model', 500)).toEqual({
    code: 'does-not-fit',
    component: 'unet',
    residence: 'model',
    needed: 960,
    offered: 500,
  })
  expect(failure('auto', 250)).toEqual({ code: 'does-not-fit', component: 'unet', residence: 'block', needed: 260, offered: 250 })
})

const tiles = [way(300), way(120, { tile: 64 }), way(40, { tile: 32 })]

test('a decode that does not fit is tiled, in the largest tiles that fit', () => {
  const parts = [needs('vae', [80, 20], 300, { ways: tiles })]
  const plan = (maxMemory: number) => planned(parts, { offload: 'auto', maxMemory })
  expect(plan(400).components[0]).toMatchObject({ activationBytes: 300 })
  expect(plan(400).components[0]?.tile).toBeUndefined()
  expect(plan(399)).toMatchObject({ peakBytes: 220, components: [{ tile: 64, residence: 'resident' }] })
  expect(plan(219)).toMatchObject({ peakBytes: 140, components: [{ tile: 32, residence: 'resident' }] })
  // Blocks are streamed only where the smallest tiles leave too little memory for all of them.
  expect(plan(139)).toMatchObject({ peakBytes: 120, components: [{ tile: 32, residence: 'block' }] })
})

test('a tensor larger than any buffer is refused by name, unless smaller tiles avoid it', () => {
  const parts = [needs('vae', [80, 20], 300, { ways: tiles })]
  const plan = (maxBufferSize: number) => planned(parts, { offload: 'auto', maxMemory: 1e6, maxBufferSize })
  expect(plan(150).components[0]?.tile).toBeUndefined()
  expect(plan(149).components[0]?.tile).toBe(64)
  expect(plan(80).components[0]?.tile).toBe(64)
  expect(() => plan(79)).toThrow(
    expect.objectContaining({
      code: 'buffer-too-large',
      details: { component: 'vae', tensor: 'blocks.1.weight', bytes: 80, allowed: 79 },
    }),
  )
  const whole = [needs('unet', [8, 2], 300)]
  expect(() => planned(whole, { offload: 'auto', maxMemory: 1e6, maxBufferSize: 149 })).toThrow(
    /^unet needs a buffer of 150 bytes \(150 B\) for the tensor unet\/Conv_0; a buffer of this GPU holds 149 \(149 B\)\.$/,
  )
})

const offer: MemoryOffer = { offload: 'resident', maxMemory: undefined, maxBufferSize: 2 ** 30 }

test('a generation takes the usual residence, or the first tighter one that fits', () => {
  const plan = (maxMemory: number) => generation(pipeline, { ...offer, maxMemory })
  expect([1500, 1499, 960, 959].map((bytes) => plan(bytes).residence)).toEqual(['resident', 'model', 'model', 'block'])
  expect(generation(pipeline, { ...offer, offload: 'model', maxMemory: 1500 }).residence).toBe('model')
  expect(() => plan(250)).toThrow(expect.objectContaining({ code: 'does-not-fit' }))
})

test('without a budget a guess decides on tiles, and refuses nothing', () => {
  const parts = (activationBytes: number) => [
    needs('vae', [2 ** 20], activationBytes, { ways: [way(activationBytes), way(2 ** 28, { tile: 32 })] }),
  ]
  const small = generation(parts(2 ** 30), offer)
  expect([small.maxMemory, small.components[0]?.tile]).toEqual([2 ** 31, undefined])
  expect(generation(parts(2 ** 31), { ...offer, maxBufferSize: 2 ** 31 - 1 }).components[0]?.tile).toBeUndefined()
  expect(generation(parts(2 ** 31), { ...offer, maxBufferSize: 2 ** 30 }).components[0]?.tile).toBe(32)
  const large = generation([needs('unet', [2 ** 33], 10)], { ...offer, maxBufferSize: 2 ** 34 })
  expect(large).toMatchObject({ residence: 'resident', maxMemory: 2 ** 33 + 10 })
})

test('shared weights always stay; tensors that are held through the run count', () => {
  const parts = [needs('transformer', [100, 100, 100, 100], 10, { sharedBytes: 50 })]
  const plan = planned(parts, { offload: 'block', maxMemory: 300, heldBytes: 20 })
  expect(plan.components[0]).toMatchObject({ weightBytes: 450, keptBytes: 50, peakWeightBytes: 250, weightBudget: 270 })
  expect(plan.peakBytes).toBe(280)
})

test('without a budget, the guess is twice the largest buffer, from 1 to 8 GiB', () => {
  expect(guessBudget({ maxBufferSize: 2 ** 28 })).toBe(2 ** 30)
  expect(guessBudget({ maxBufferSize: 2 ** 31 })).toBe(2 ** 32)
  expect(guessBudget({ maxBufferSize: 2 ** 40 })).toBe(2 ** 33)
})
