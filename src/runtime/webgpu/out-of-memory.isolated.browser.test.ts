/**
 * What happens when a GPU has no memory for a buffer: which error reports this, wherever the buffer was created, and that no buffers are
 * left.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BoundNetwork } from '../bound-network.js'
import { openDevice } from '../open-device.js'
import { ScarceGpu } from './testing-gpu.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from '../testing.js'
import type { Device } from '../device.js'

const blocks = 4
const rows = 64
const x = { type: 'float32', dims: [rows, towerSizes.input], data: numbers(rows * towerSizes.input, 5) } as const

let gpu: ScarceGpu
let device: Device
beforeEach(async () => {
  gpu = new ScarceGpu()
  device = await openDevice({ kind: 'webgpu' })
})
afterEach(async () => {
  await device.dispose()
  gpu.end()
})

function tower() {
  const { table, source } = testCheckpoint(towerShapes(blocks))
  const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
  return { component: new BoundNetwork({ name: 'tower', device, table, graph, shapes: { x: x.dims } }), source }
}

async function run(component: BoundNetwork): Promise<Float32Array> {
  const { y } = await component.run({ x })
  const values = await y!.read()
  y!.dispose()
  return values
}

test('weights: the buffers that were made are freed, and the error says how many bytes were too many', async () => {
  const { component, source } = tower()
  const [first, bias, weight] = [towerSizes.hidden * towerSizes.input, towerSizes.hidden, towerSizes.hidden ** 2].map(
    (n) => 4 * n,
  )
  gpu.limit = first! + bias! + 20
  await expect(component.load()).rejects.toMatchObject({
    code: 'out-of-memory',
    message: expect.stringMatching(/^The GPU ran out of memory: tower requested /),
    details: { component: 'tower', live: first! + bias! + weight!, bytes: weight },
  })
  expect(source.reads).toBe(0)
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  expect(gpu.live).toBe(0)
  gpu.limit = Number.POSITIVE_INFINITY
  expect(await run(component)).toHaveLength(rows * towerSizes.output)
  await component.dispose()
})

test('a run reports the failed allocation and not one of its consequences, and no later run gets a refused buffer', async () => {
  const { component } = tower()
  const whole = await run(component)
  device.buffers?.reclaim()
  const { live } = device.memory.snapshot()
  gpu.limit = live + 4 * rows * towerSizes.hidden
  await expect(run(component)).rejects.toMatchObject({
    code: 'out-of-memory',
    details: { component: 'tower', live: expect.toSatisfy((bytes: number) => bytes > gpu.limit) },
  })
  expect(gpu.refusals).toBeGreaterThan(0)
  gpu.limit = Number.POSITIVE_INFINITY
  expect(await run(component)).toEqual(whole)
  device.buffers?.reclaim()
  expect(device.memory.snapshot().liveWeights).toBe(
    gpu.live - (device.memory.snapshot().live - device.memory.snapshot().liveWeights),
  )
  await component.dispose()
})

test('uploads, sums and copies: the next read or run reports the failed allocation, until reclaim()', async () => {
  const { component } = tower()
  const whole = await run(component)
  const term = device.upload(x, 'test')
  for (const make of [
    () => device.upload(x, 'test'),
    () => device.combine([{ tensor: term, scale: 2 }], x.dims, 'test'),
    () => device.assemble([{ tensor: term, at: [0, 0] }], x.dims, 'test'),
  ]) {
    device.buffers?.reclaim()
    gpu.limit = device.memory.snapshot().live + 16
    const tensor = make()
    const full = { code: 'out-of-memory', details: { component: 'test', bytes: 4 * rows * towerSizes.input } }
    gpu.limit = Number.POSITIVE_INFINITY
    await expect(tensor.read()).rejects.toMatchObject(full)
    await expect(component.run({ x: tensor })).rejects.toMatchObject(full)
    tensor.dispose()
    device.buffers?.reclaim()
    expect(await run(component)).toEqual(whole)
    const again = make()
    expect(await again.read()).toHaveLength(rows * towerSizes.input)
    again.dispose()
  }
  term.dispose()
  await component.dispose()
})
