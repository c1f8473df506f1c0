/** Block residency on a real device: a component under a budget computes the same, to the bit, and stays within the budget. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createComponent } from './component.js'
import { openDevice } from './open-device.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from './testing.js'
import type { Component, Device } from './types.js'
import { WebGpuDevice } from './webgpu-device.js'
import { bufferBytes, planStages, stageWeights } from './stage-weights.js'

const blocks = 12
const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const

let device: Device
beforeEach(async () => {
  device = await openDevice({ kind: 'webgpu' })
})
afterEach(async () => device.dispose())

function tower(weightBudget?: number) {
  const { table, source } = testCheckpoint(towerShapes(blocks))
  const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
  const weights = stageWeights(graph({ x: x.dims }).stages, table)
  const total = weights.own.reduce((sum, own) => sum + bufferBytes(own), 0)
  const component = createComponent({ name: 'tower', device, table, graph, shapes: { x: x.dims }, weightBudget })
  return { component, source, weights, total }
}

async function run(component: Component, signal?: AbortSignal): Promise<Float32Array> {
  const { y } = await component.run({ x }, { signal })
  const values = await y!.read()
  y!.dispose()
  return values
}

test('budgets of 100, 50, 25 and 10 % of the weights give the same bits and are kept', async () => {
  const { component, total, weights } = tower()
  const whole = await run(component)
  const reads = []
  for (const share of [1, 0.5, 0.25, 0.1]) {
    const budget = Math.floor(total * share)
    const plan = planStages(weights, budget, 'tower')
    await component.setWeightBudget(budget)
    device.memory.resetPeaks()
    for (let i = 0; i < 3; i++) expect(await run(component)).toEqual(whole)
    // The plan is exact: two slots are full while one block runs and the next arrives.
    expect(device.memory.snapshot().peakWeights).toBe(plan.peakBytes)
    expect(plan.peakBytes).toBeLessThanOrEqual(budget)
    reads.push(plan.streamedBytes)
  }
  expect(reads).toEqual(reads.toSorted((a, b) => a - b))
  expect(reads[0]).toBe(0)
  await component.dispose()
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
})

test('a streamed run compiles nothing anew', async () => {
  const { component, total } = tower()
  await run(component)
  await component.setWeightBudget(total / 4)
  await run(component)
  expect(device instanceof WebGpuDevice && device.sessions.counts).toEqual({ alive: 3, created: 3 })
  await component.dispose()
})

test('a budget below the largest block is refused before anything is read', async () => {
  const { component, source, weights } = tower(100)
  const needed = Math.max(...weights.own.map(bufferBytes))
  await expect(run(component)).rejects.toMatchObject({
    code: 'does-not-fit',
    details: { component: 'tower', needed, offered: 100 },
  })
  expect(source.reads).toBe(0)
  expect(device.memory.snapshot().live).toBe(0)
  await component.dispose()
})

test('an aborted or failing streamed run leaves no more than the budget, and the next one is right', async () => {
  const { component, source, total } = tower()
  const whole = await run(component)
  const budget = Math.floor(total / 4)
  await component.setWeightBudget(budget)
  await component.load()
  for (const stopAt of [1, 4, 7]) {
    const controller = new AbortController()
    const from = source.reads
    source.onRead = (read) => {
      if (read >= from + stopAt) controller.abort()
    }
    await expect(run(component, controller.signal)).rejects.toMatchObject({ name: 'AbortError' })
    source.onRead = () => Promise.reject(new Error('the disk is gone'))
    await expect(run(component)).rejects.toThrow('the disk is gone')
    source.onRead = () => {}
    expect(device.memory.snapshot().peakWeights).toBeLessThanOrEqual(total)
    expect(device.memory.snapshot().liveWeights).toBeLessThanOrEqual(budget)
    expect(await run(component)).toEqual(whole)
  }
  await component.unload()
  expect(device.memory.snapshot().liveWeights).toBe(0)
  await component.dispose()
})

test('a component moves to another device and back', async () => {
  const { component } = tower()
  const there = await run(component)
  const next = await openDevice({ kind: 'webgpu' })
  await component.moveTo(next)
  expect(device.memory.snapshot().live).toBe(0)
  expect(await run(component)).toEqual(there)
  expect(next.memory.snapshot().liveWeights).toBeGreaterThan(0)
  await component.dispose()
  expect(next.memory.snapshot().live).toBe(0)
  await next.dispose()
})
