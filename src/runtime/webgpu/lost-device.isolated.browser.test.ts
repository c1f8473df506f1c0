/** A lost device whose loss is reported late: running calls reject, and none waits forever. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { BoundNetwork } from '../bound-network.js'
import { openDevice } from '../open-device.js'
import { LateLosses } from './testing-gpu.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from '../testing.js'
import type { WebGpuDevice } from './webgpu-device.js'

const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const

const open = async () => (await openDevice({ kind: 'webgpu' })) as WebGpuDevice

describe('when the loss is reported late', () => {
  let losses: LateLosses
  let device: WebGpuDevice
  beforeEach(async () => {
    losses = new LateLosses()
    device = await open()
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    losses.report()
    await device.dispose()
    losses.end()
  })

  test.each([
    ['a call that fails before the reason is known reports the loss', true, 'device-lost'],
    ['a call that fails reports its own failure if no loss is reported', false, 'gpu-error'],
  ])('%s', async (_, comes, code) => {
    const tensor = device.upload(x, 'test')
    const mapAsync = vi.spyOn(GPUBuffer.prototype, 'mapAsync')
    device.gpu.destroy()
    // The failed call waits a second for the report, and the browser may take longer.
    await losses.happened
    const read = tensor.read().catch((error: unknown) => error)
    await expect(mapAsync.mock.results[0]!.value).rejects.toBeInstanceOf(DOMException)
    if (comes) losses.report()
    expect(await read).toMatchObject({ code })
  })
})

test('other devices can use onnxruntime after it did not return from a call on a lost device', async () => {
  const device = await open()
  const next = await open()
  const stuck = device
    .exclusively({ owner: 'test', doing: 'waiting' }, () => new Promise<never>(() => {}))
    .catch((error: unknown) => error)
  const { table } = testCheckpoint(towerShapes(1))
  const component = new BoundNetwork({
    name: 'tower',
    device: next,
    table,
    graph: towerGraph(1, next.writeOptions({ dtype: 'float32', granularity: 'block' })),
    shapes: { x: x.dims },
  })
  const waiting = component.run({ x })
  device.gpu.destroy()
  expect(await stuck).toMatchObject({ code: 'device-lost' })
  const { y } = await waiting
  expect(await y!.read()).toHaveLength(3 * towerSizes.output)
  y!.dispose()
  await component.dispose()
  await next.dispose()
  await device.dispose()
})

test('a lost device is an error, and its account is empty', async () => {
  const device = await open()
  const { table } = testCheckpoint(towerShapes(3))
  const graph = towerGraph(3, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
  const component = new BoundNetwork({ name: 'tower', device, table, graph, shapes: { x: x.dims } })
  await component.load()
  device.gpu.destroy()
  await expect(device.lost).resolves.toMatchObject({ code: 'device-lost' })
  expect(device.memory.snapshot().live).toBe(0)
  await expect(component.run({ x })).rejects.toMatchObject({ code: 'device-lost' })
  await component.dispose()
  await device.dispose()
})
