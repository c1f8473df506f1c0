/** A generation as a promise and as an iterable of its steps. */

import { expect, test } from 'vitest'
import type { StepInfo } from '../../pipelines/types.js'
import { deferred } from '../../util/deferred.js'
import { startGeneration } from './generation.js'

const step = (index: number): StepInfo => ({ step: index, total: 3, timestep: 0 })

test('a loop over a generation gets every step, also the steps before the loop began; await gives the result', async () => {
  const generation = startGeneration(async (onStep) => {
    onStep(step(0))
    await Promise.resolve()
    onStep(step(1))
    onStep(step(2))
    return 'done'
  })
  await generation
  const seen: number[] = []
  for await (const { step: index } of generation) seen.push(index)
  expect(seen).toEqual([0, 1, 2])
  expect(await generation).toBe('done')
})

test('a loop follows the steps while they happen', async () => {
  let gate = deferred()
  const seen: number[] = []
  const generation = startGeneration(async (onStep) => {
    for (let i = 0; i < 3; i++) {
      onStep(step(i))
      gate = deferred()
      await gate.promise
    }
    return 'done'
  })
  for await (const { step: index } of generation) {
    seen.push(index)
    gate.resolve()
  }
  expect(seen).toEqual([0, 1, 2])
})

test('a loop throws what the generation throws, after its steps', async () => {
  const seen: number[] = []
  const failing = startGeneration(async (onStep) => {
    onStep(step(0))
    await Promise.resolve()
    throw new RangeError('failed')
  })
  const loop = async () => {
    for await (const { step: index } of failing) seen.push(index)
  }
  await expect(loop()).rejects.toThrow('failed')
  expect(seen).toEqual([0])
})

test('leaving the loop does not end the generation', async () => {
  const generation = startGeneration((onStep) => {
    onStep(step(0))
    return Promise.resolve('done')
  })
  for await (const { step: index } of generation) {
    expect(index).toBe(0)
    break
  }
  expect(await generation).toBe('done')
})
