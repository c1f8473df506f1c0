/** Model offload on a real device: what the account says of three components that take turns. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createComponent } from './component.js'
import { storageBytes } from './gpu-buffers.js'
import { openDevice } from './open-device.js'
import { Residency } from './residency.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from './testing.js'
import type { Component, Device } from './types.js'

let device: Device
beforeAll(async () => {
  device = await openDevice({ kind: 'webgpu' })
})
afterAll(async () => device.dispose())

const heights = { text_encoder: 1, unet: 4, vae: 2 }
const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const

function components(): Component[] {
  return Object.entries(heights).map(([name, blocks]) => {
    const { table } = testCheckpoint(towerShapes(blocks))
    const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
    return createComponent({ name, device, table, graph, shapes: { x: x.dims } })
  })
}

function weightBytes(blocks: number): number {
  const sizes = Object.values(towerShapes(blocks)).map((shape) =>
    storageBytes(4 * shape.reduce((count, size) => count * size, 1)),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function runAll(mode: 'resident' | 'model'): Promise<Float32Array[]> {
  const all = components()
  const residency = new Residency(mode, all)
  device.memory.resetPeaks()
  const outputs = []
  for (const component of all) {
    await residency.use(component)
    const { y } = await component.run({ x })
    outputs.push(await y!.read())
    y!.dispose()
  }
  await residency.release()
  for (const component of all) await component.dispose()
  return outputs
}

test('the peak of weights is the largest component with model offload, all of them when resident, and 0 is left', async () => {
  const resident = await runAll('resident')
  expect(device.memory.snapshot().peakWeights).toBe(weightBytes(1) + weightBytes(4) + weightBytes(2))
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })

  const model = await runAll('model')
  expect(device.memory.snapshot().peakWeights).toBe(weightBytes(4))
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  expect(model).toEqual(resident)
})
