/// <reference types="@vitest/browser-playwright" />
/** The GPU process really dies while a network runs: the test makes Chromium crash it. */
import { expect, test } from 'vitest'
import { cdp } from 'vitest/browser'
import { BoundNetwork } from '../bound-network.js'
import { openDevice } from '../open-device.js'
import { RecoveryLadder } from '../recovery.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from '../testing.js'
const blocks = 6
const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const

async function run(component: BoundNetwork): Promise<Float32Array> {
  const { y } = await component.run({ x })
  try {
    return await y!.read()
  } finally {
    y!.dispose()
  }
}

test('a loss ends the run and empties the account, and the network gives the same bits on a new device', async () => {
  const device = await openDevice({ kind: 'webgpu' })
  const { table } = testCheckpoint(towerShapes(blocks))
  const component = new BoundNetwork({
    name: 'tower',
    device,
    table,
    graph: (shapes, on) => towerGraph(blocks, on.writeOptions({ dtype: 'float32', granularity: 'block' }))(shapes),
    shapes: { x: x.dims },
  })
  const before = await run(component)

  const until = async (): Promise<unknown> => {
    for (;;) {
      try {
        await run(component)
      } catch (error) {
        return error
      }
    }
  }
  const running = until()
  // The command itself may fail, because its answer comes through the process that dies.
  const crash = cdp()
    .send('Browser.crashGpuProcess')
    .catch(() => {})
  const error = await running
  await crash
  expect(error).toMatchObject({ code: 'device-lost' })
  await expect(device.lost).resolves.toMatchObject({ code: 'device-lost' })
  expect(device.memory.snapshot().live).toBe(0)
  const setup = { residence: 'resident', canStream: true, canShrink: false, canTile: false } as const
  expect(new RecoveryLadder().next(error, setup, device)).toEqual({ action: 'rebuild' })

  const next = await openDevice({ kind: 'webgpu' })
  await component.moveTo(next)
  expect(await run(component)).toEqual(before)
  await component.dispose()
  expect(next.memory.snapshot().live).toBe(0)
  await next.dispose()
  await device.dispose()
})
