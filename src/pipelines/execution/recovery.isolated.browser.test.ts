/** How a pipeline recovers from a lost device and from too little memory, on a real device. */
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { testCheckpoint } from '../../runtime/testing.js'
import { fixtureComponent } from '../../runtime/testing-fixtures.js'
import { openDevice } from '../../runtime/open-device.js'
import { ScarceGpu } from '../../runtime/webgpu/testing-gpu.js'
import type { HostTensor } from '../../runtime/types.js'
import type { WebGpuDevice } from '../../runtime/webgpu/webgpu-device.js'
import { ComponentHost } from './component-host.js'
import { failuresOf, Recovery } from './recovery.js'
import { networkNeeds } from '../planning/memory-needs.js'
import { adaptableLayers, graphOptions, type Network } from '../bind-network.js'
import { NetworkAdapters } from '../network-adapters.js'
import { Run } from '../run.js'

async function textEncoder() {
  const device = await openDevice({ kind: 'webgpu' })
  const { component, table, inputs } = await fixtureComponent(device, 'text_encoder', 8, 'block')
  await component.dispose()
  const config = (await (await fetch('/fixtures/tiny-sdxl/repo/text_encoder/config.json')).json()) as Config
  const network: Network = { name: 'text_encoder', model: CLIPTextModel.fromConfig(config), table, repo: 'tiny-sdxl' }
  // The inputs of a run with one text, which is what a generation plans.
  const one = Object.entries(inputs).map(([name, { type, dims, data }]): [string, HostTensor] => {
    const [batch = 1, ...rest] = dims
    return [name, { type, dims: [1, ...rest], data: data.slice(0, data.length / batch) }]
  })
  return { device: device as WebGpuDevice, network, inputs: Object.fromEntries(one) }
}

let recovery = new Recovery()
beforeEach(() => {
  recovery = new Recovery()
})

/** Runs the network, and runs it again after a failure from which the recovery can continue. */
function hiddenState(host: ComponentHost, network: Network, inputs: Readonly<Record<string, HostTensor>>, run: Run) {
  return recovery.retrying(run, () => failuresOf({ host, network }, () => host.read(network, inputs, 'hidden_state', run)))
}

test('a lost device is opened again, with the LoRA that is fused into its weights, and a second loss is an error', async () => {
  // A second loss is an error within two minutes of the first. On this clock, no time passes.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now())
  onTestFinished(() => void vi.restoreAllMocks())
  const { device, network: plain, inputs } = await textEncoder()
  const adapters = new NetworkAdapters(plain.table, plain.model)
  const network: Network = { ...plain, table: adapters.table, adapters }
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident' })
  const run = new Run({})
  const without = await hiddenState(host, network, inputs, run)
  const [[layer, [rows = 0, columns = 0]] = ['', []]] = adaptableLayers(plain.model)
  const factors = testCheckpoint({ lora_A: [1, columns], lora_B: [rows, 1] }).table
  const form = { kind: 'low-rank', rank: 1 } as const
  const lora = { id: 0, layers: new Map([[layer, { form, tensors: factors, scaling: 1 }]]) }
  adapters.activate([], [{ adapter: lora, weight: 1 }])
  const before = await hiddenState(host, network, inputs, run)
  expect(before).not.toEqual(without)
  device.gpu.destroy()
  await device.lost
  expect(await hiddenState(host, network, inputs, run)).toEqual(before)
  expect(host.device).not.toBe(device)
  expect(run.warnings).toEqual([expect.stringContaining('opened a new one')])
  expect(await hiddenState(host, network, inputs, run)).toEqual(before)

  ;(host.device as WebGpuDevice).gpu.destroy()
  await host.device.lost
  await expect(hiddenState(host, network, inputs, run)).rejects.toMatchObject({ code: 'device-lost-again' })
  await host.dispose()
})

describe('a GPU with less memory than expected', () => {
  let gpu: ScarceGpu
  beforeEach(() => {
    gpu = new ScarceGpu()
  })
  afterEach(() => gpu.end())

  test.each([
    ['no maxMemory', undefined],
    ['a maxMemory above what the GPU has', 2 ** 30],
  ])('%s: the budget of the weights shrinks step by step until a run fits, with the same bits', async (_, maxMemory) => {
    const { device, network, inputs } = await textEncoder()
    const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident', budget: { limit: maxMemory } })
    const plenty = new Run({})
    await host.fit(new Map([[network.name, network]]), () => true, { width: 8, height: 8 }, plenty)
    const whole = await hiddenState(host, network, inputs, plenty)
    expect([plenty.warnings, host.offload]).toEqual([[], 'resident'])
    await host.settle()
    const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { dims }]) => [name, dims]))
    const { blocks } = networkNeeds(network, shapes, graphOptions(network, { device, dtype: 'float32', granularity: 'block' }))
    const largest = Math.max(...blocks.map(({ bytes }) => bytes))
    // In each case, the GPU has the memory that a run needs besides weights, plus the largest block's weights and a share of the other
    // weights.
    device.memory.resetPeaks()
    await hiddenState(host, network, inputs, plenty)
    const { peak, peakWeights } = device.memory.snapshot()
    const tooLarge = 'text_encoder did not fit into memory; from now on'
    for (const [share, warnings] of [
      [0.7, [`${tooLarge} offload is model.`, `${tooLarge} offload is block.`]],
      [0.01, [`${tooLarge} fewer of its weights stay loaded.`]],
    ] as const) {
      gpu.limit = Math.ceil(peak - peakWeights + largest + share * (peakWeights - largest))
      gpu.refusals = 0
      const run = new Run({})
      await host.settle()
      expect(await hiddenState(host, network, inputs, run), String(share)).toEqual(whole)
      expect(gpu.refusals).toBeGreaterThan(0)
      expect(run.warnings).toEqual(warnings)
      expect(host.offload).toBe('block')
      // The smaller budget stays: the next run fits at once.
      gpu.refusals = 0
      await host.settle()
      expect(await hiddenState(host, network, inputs, run)).toEqual(whole)
      expect(gpu.refusals).toBe(0)
    }

    gpu.limit = largest
    await expect(hiddenState(host, network, inputs, new Run({}))).rejects.toMatchObject({
      code: 'out-of-memory',
      message: expect.stringMatching(/^The GPU ran out of memory: text_encoder requested .* try a smaller size/),
    })
    await host.dispose()
    expect(device.memory.snapshot().live).toBe(0)
    expect(gpu.live).toBe(0)
  })
})
