/**
 * Plans held against what happens: the networks of fixtures/tiny-sdxl on a real device, one after the other as a pipeline uses them, under
 * budgets from all of the weights down to a tenth of them.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isAquatintError } from '../errors.js'
import { needsOf } from './memory-estimate.js'
import { planMemory, type MemoryPlan } from './memory-plan.js'
import { openDevice } from './open-device.js'
import { Residency } from './residency.js'
import { fixtureComponent, type FixtureComponent } from './testing-fixtures.js'
import type { Device, MemorySnapshot } from './types.js'

let device: Device
let parts: FixtureComponent[]
beforeAll(async () => {
  device = await openDevice({ kind: 'webgpu' })
  parts = []
  for (const name of ['text_encoder', 'unet', 'vae'] as const) parts.push(await fixtureComponent(device, name, 8, 'block'))
})
afterAll(async () => {
  for (const { component } of parts) await component.dispose()
  await device.dispose()
})

/** Runs text encoder, UNet (twice, as two steps) and VAE as `plan` says. */
async function runAs(plan: MemoryPlan): Promise<{ outputs: Float32Array[]; memory: MemorySnapshot }> {
  for (const [index, { component }] of parts.entries()) await component.setWeightBudget(plan.components[index]?.weightBudget)
  // What is kept for reuse would otherwise fill what the plan leaves of the budget.
  device.limitMemory(plan.peakBytes)
  device.memory.resetPeaks()
  const components = parts.map(({ component }) => component)
  const residency = new Residency(plan.residence === 'resident' ? 'resident' : 'model', components)
  const outputs: Float32Array[] = []
  for (const { component, inputs } of parts) {
    await residency.use(component)
    for (let step = 0; step < (component.name === 'unet' ? 2 : 1); step++) {
      for (const tensor of Object.values(await component.run(inputs))) {
        outputs.push(await tensor.read())
        tensor.dispose()
      }
    }
  }
  const memory = device.memory.snapshot()
  await residency.release()
  device.limitMemory(undefined)
  return { outputs, memory }
}

test('measured peak ≤ planned peak ≤ budget for 100, 50, 25 and 10 % of the weights, with the same bits', async () => {
  const needs = parts.map(({ component, graph, table }) => needsOf(component.name, graph, table))
  const weights = needs.reduce((sum, { blocks }) => sum + blocks.reduce((bytes, block) => bytes + block.bytes, 0), 0)
  const activations = Math.max(...needs.map(({ activationBytes }) => activationBytes))
  const whole = await runAs(planMemory(needs, { offload: 'resident', maxMemory: weights + activations }))
  expect(whole.memory.peakWeights).toBe(weights)
  const streamed = []
  for (const share of [1, 0.5, 0.25, 0.1]) {
    // The budget is for all buffers: what runs hold beside weights comes on top of the share.
    const maxMemory = activations + Math.floor(weights * share)
    const plan = planMemory(needs, { offload: 'auto', maxMemory })
    const { outputs, memory } = await runAs(plan)
    expect(outputs).toEqual(whole.outputs)
    expect(plan.peakBytes).toBeLessThanOrEqual(maxMemory)
    expect(memory.peak).toBeLessThanOrEqual(plan.peakBytes)
    const peakWeights = plan.components.map((part) => part.peakWeightBytes)
    const planned = plan.residence === 'resident' ? weights : Math.max(...peakWeights)
    expect(memory.peakWeights).toBe(planned)
    for (const [index, part] of plan.components.entries()) {
      expect(memory.components[part.name]?.peakWeights, part.name).toBe(peakWeights[index])
    }
    streamed.push(plan.components.reduce((sum, part) => sum + part.streamedBytes, 0))
  }
  expect(streamed[0]).toBe(0)
  expect(streamed).toEqual(streamed.toSorted((a, b) => a - b))
  expect(device.memory.snapshot().liveWeights).toBe(0)
})

test('each component runs in the least memory that its plan asks for', async () => {
  for (const { component, graph, table, inputs } of parts) {
    const needs = needsOf(component.name, graph, table)
    await component.setWeightBudget(undefined)
    const whole = await component.run(inputs)
    await component.unload()
    const least = needed(needs)
    const [plan] = planMemory([needs], { offload: 'block', maxMemory: least }).components
    expect(plan?.streamedBytes).toBeGreaterThan(0)
    await component.setWeightBudget(plan?.weightBudget)
    const before = device.memory.snapshot().live
    device.limitMemory(before + least)
    device.memory.resetPeaks()
    const streamed = await component.run(inputs)
    expect(device.memory.snapshot().peak - before, component.name).toBeLessThanOrEqual(least)
    device.limitMemory(undefined)
    for (const [name, tensor] of Object.entries(streamed)) {
      expect(await tensor.read()).toEqual(await whole[name]!.read())
      tensor.dispose()
      whole[name]!.dispose()
    }
    await component.unload()
  }
})

/** The least that a component says it needs when it is offered nothing. */
function needed(needs: ReturnType<typeof needsOf>): number {
  try {
    planMemory([needs], { offload: 'block', maxMemory: 1 })
  } catch (error) {
    if (isAquatintError(error)) return Number(error.details['needed'])
  }
  throw new Error('It fits into one byte')
}
