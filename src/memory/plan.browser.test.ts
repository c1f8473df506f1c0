/**
 * Compares plans with measurements: runs the networks of fixtures/tiny-sdxl on a real device, each in the least memory that its plan needs.
 * Whole pipelines within budgets are in pipelines/budget.browser.test.ts.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { needsOf } from './needs.js'
import { planMemory } from './plan.js'
import { isRefusal, orThrow } from './refusal.js'
import { openDevice } from '../runtime/open-device.js'
import { fixtureComponent, type FixtureComponent } from '../runtime/testing-fixtures.js'
import type { Device } from '../runtime/device.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

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

test('each component runs in the least memory that its plan needs', async () => {
  for (const { component, graph, table, inputs } of parts) {
    const needs = needsOf(component.name, graph, table)
    await component.setPlan(undefined)
    const whole = await component.run(inputs)
    await component.unload()
    const least = needed(needs)
    const [plan] = orThrow(planMemory([needs], { offload: 'block', maxMemory: least })).components
    expect(plan?.streamedBytes).toBeGreaterThan(0)
    await component.setPlan(plan)
    const before = device.memory.snapshot().live
    device.buffers?.setLimit(before + least)
    device.memory.resetPeaks()
    const streamed = await component.run(inputs)
    expect(device.memory.snapshot().peak - before, component.name).toBeLessThanOrEqual(least)
    device.buffers?.setLimit(undefined)
    for (const [name, tensor] of Object.entries(streamed)) {
      expect(await tensor.read()).toEqual(await whole[name]!.read())
      tensor.dispose()
      whole[name]!.dispose()
    }
    await component.unload()
  }
})

/** The least memory of a component, which the refusal of an empty budget reports. */
function needed(needs: ReturnType<typeof needsOf>): number {
  const refusal = planMemory([needs], { offload: 'block', maxMemory: 1 })
  if (isRefusal(refusal)) return Number(refusal.details['needed'])
  throw new Error('It fits into one byte')
}
