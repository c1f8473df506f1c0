/** What a pipeline's host does about a device that goes away and about too little memory, on a real device. */
import { expect, test } from 'vitest'
import { DeviceError } from '../errors.js'
import type { Config } from '../checkpoint/types.js'
import { fixtureComponent } from '../runtime/testing-fixtures.js'
import { openDevice } from '../runtime/open-device.js'
import type { HostTensor } from '../runtime/types.js'
import type { WebGpuDevice } from '../runtime/webgpu-device.js'
import { ComponentHost } from './component-host.js'
import type { Network } from './networks.js'
import { Run } from './run-hooks.js'

async function textEncoder() {
  const device = await openDevice({ kind: 'webgpu' })
  const { component, table, inputs } = await fixtureComponent(device, 'text_encoder', 8, 'block')
  await component.dispose()
  const config = (await (await fetch('/fixtures/tiny-sdxl/repo/text_encoder/config.json')).json()) as Config
  const network: Network = { name: 'text_encoder', className: 'CLIPTextModel', config, table, repo: 'tiny-sdxl' }
  return { device: device as WebGpuDevice, network, inputs }
}

/** Runs the network, again where the host says so. */
function hiddenState(host: ComponentHost, network: Network, inputs: Readonly<Record<string, HostTensor>>, run: Run) {
  return host.recovering(network, run, () => host.readOnce(network, inputs, 'hidden_state', run))
}

test('a lost device is opened anew, and a second loss is told', async () => {
  const { device, network, inputs } = await textEncoder()
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident', maxMemory: undefined })
  const run = new Run({})
  const before = await hiddenState(host, network, inputs, run)
  device.gpu.destroy()
  await device.lost
  expect(await hiddenState(host, network, inputs, run)).toEqual(before)
  expect(host.device).not.toBe(device)
  expect(run.warnings).toEqual([expect.stringContaining('opened anew')])
  expect(await hiddenState(host, network, inputs, run)).toEqual(before)

  ;(host.device as WebGpuDevice).gpu.destroy()
  await host.device.lost
  await expect(hiddenState(host, network, inputs, run)).rejects.toMatchObject({ code: 'device-lost-again' })
  await host.dispose()
})

test('too little memory makes the offload tighter, step by step, until it is enough or there is no step left', async () => {
  const { device, network, inputs } = await textEncoder()
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident', maxMemory: undefined })
  const run = new Run({})
  const createWeights = device.buffers.createWeights.bind(device.buffers)
  let refusals = 2
  // A software adapter takes the machine's memory rather than refuse: the first two loads are refused for it.
  device.buffers.createWeights = (owner, bytes) => {
    if (refusals-- > 0) throw new DeviceError('out-of-memory', 'no room')
    return createWeights(owner, bytes)
  }
  const values = await hiddenState(host, network, inputs, run)
  expect(host.offload).toBe('block')
  expect(run.warnings).toHaveLength(2)
  expect(values.some((value) => value !== 0)).toBe(true)
  refusals = Number.POSITIVE_INFINITY
  await host.settle()
  await expect(hiddenState(host, network, inputs, run)).rejects.toMatchObject({ code: 'out-of-memory' })
  await host.dispose()
  expect(device.memory.snapshot().live).toBe(0)
})
