/** Which weights stay on a GPU from run to run and from generation to generation, measured by the bytes of the checkpoint that are read again. */
import type { GraphVariant } from '../../models/types.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Repository } from '../../hub/types.js'
import { numbers, TestSource } from '../../runtime/testing.js'
import { weightBytes } from '../../memory/needs.js'
import { leastActivations, leastBudget } from '../../memory/plan.js'
import type { HostTensor } from '../../runtime/types.js'
import { elementCount } from '../../util/element-count.js'
import { ComponentHost } from './component-host.js'
import { heldOn, networkNeeds, type GenerationSize } from '../planning/memory-needs.js'
import { graphOptions, type Network } from '../bind-network.js'
import { openPipeline, type OpenedPipeline } from '../loading/open-pipeline.js'
import { Run } from '../run.js'
import { stableDiffusion3 } from '../families/stable-diffusion-3.js'
import { servedRepository } from '../testing.js'
import type { Device } from '../../runtime/device.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const served = servedRepository('tiny-sd3', import.meta.glob('../../../fixtures/tiny-sd3/repo/**'))
/** The bytes of the repository's files that have been read. */
let read = 0
const repository: Repository = {
  ...served,
  open: async (path) => {
    const source = await served.open(path)
    if (source instanceof TestSource)
      source.onRead = (_, { begin, end }) => {
        read += end - begin
      }
    return source
  },
}

let opened: OpenedPipeline
let device: Device
beforeAll(async () => {
  opened = await openPipeline(repository, { device: 'webgpu', offload: 'resident' }, [stableDiffusion3])
  ;({ device } = opened.hosts.of('transformer'))
})
afterAll(async () => {
  await opened.hosts.dispose()
  opened.close()
})

const networkOf = (name: string): Network => opened.parts.networks.get(name)!

function hostOf(offload: 'resident' | 'block', maxMemory?: number): ComponentHost {
  return new ComponentHost({ device, dtype: 'float32', offload, budget: { limit: maxMemory } })
}

/** Inputs of a run. `batch`: the number of rows of each input along its first axis; by default the planned number. */
function inputsOf(network: Network, size: GenerationSize, batch?: number): Record<string, HostTensor> {
  const shapes = { ...network.model.shapes(size), ...extra(network, size) }
  const inputs = Object.entries(shapes).map(([name, [own = 1, ...rest]], index) => {
    const dims = [name === 'pos_embed' ? own : (batch ?? own), ...rest]
    return [name, { type: 'float32', dims, data: numbers(elementCount(dims), index) }] as const
  })
  return Object.fromEntries(inputs)
}

/** Inputs that the planned shapes do not include. */
function extra({ model }: Network, { width, height }: GenerationSize): Record<string, readonly number[]> {
  if (model.role !== 'denoiser') return {}
  return { timestep_proj: [2, 256], pooled_projections: [2, 40], pos_embed: [(width * height) / 4, 32] }
}

async function valuesOf(
  host: ComponentHost,
  network: Network,
  inputs: Readonly<Record<string, HostTensor>>,
  variant: GraphVariant = {},
) {
  const outputs = await host.run(network, inputs, new Run({}), variant)
  const values = await Promise.all(Object.entries(outputs).map(async ([name, tensor]) => [name, await tensor.read()] as const))
  for (const tensor of Object.values(outputs)) tensor.dispose()
  return Object.fromEntries(values)
}

/** Bytes of the checkpoint that `work` reads. */
async function bytesRead(work: () => Promise<unknown>): Promise<number> {
  const before = read
  await work()
  return read - before
}

function needsFor(network: Network, size: GenerationSize) {
  return networkNeeds(
    network,
    network.model.shapes(size),
    graphOptions(network, { device, dtype: 'float32', granularity: 'block' }),
  )
}

test('after a generation in blocks, all weights stay again if they fit', async () => {
  const t5 = networkOf('text_encoder_3')
  const [short, long] = [
    { width: 8, height: 8, maxSequenceLength: 16 },
    { width: 8, height: 8, maxSequenceLength: 256 },
  ]
  const all = weightBytes(needsFor(t5, short))
  const maxMemory = leastBudget([needsFor(t5, long)], 'block')
  expect(all + leastActivations(needsFor(t5, short))).toBeLessThanOrEqual(maxMemory)
  const host = hostOf('resident', maxMemory)
  const generate = async (size: GenerationSize) => {
    const run = new Run({})
    await host.fit(new Map([[t5.name, t5]]), () => true, size, run)
    const bytes = [0, 0]
    for (const index of bytes.keys()) bytes[index] = await bytesRead(() => valuesOf(host, t5, inputsOf(t5, size)))
    const { liveWeights } = device.memory.snapshot()
    await host.settle()
    return { offload: host.offload, bytes, liveWeights }
  }
  const usual = await generate(short)
  expect(usual).toMatchObject({ offload: 'resident', bytes: [usual.bytes[0], 0], liveWeights: all })
  const streamed = await generate(long)
  expect(streamed.offload).toBe('block')
  expect(streamed.bytes[1]).toBeGreaterThan(0)
  expect(streamed.liveWeights).toBeLessThan(all)
  expect(await generate(short)).toEqual(usual)
  expect(await generate(short)).toEqual({ ...usual, bytes: [0, 0] })
})

test('skip-layer guidance runs on the weights that the transformer has, and leaves them there', async () => {
  const transformer = networkOf('transformer')
  const size = { width: 4, height: 4, maxSequenceLength: 8 }
  const both = inputsOf(transformer, size)
  const half = inputsOf(transformer, size, 1)
  const variant = { skipLayers: [1] }
  const host = hostOf('resident')
  const expected = {
    both: await valuesOf(host, transformer, both),
    plain: await valuesOf(host, transformer, half),
    skipping: await valuesOf(host, transformer, half, variant),
  }
  expect(expected.skipping).not.toEqual(expected.plain)
  // Images of the same shapes, alternately with and without skip-layer guidance.
  const again = await bytesRead(async () => {
    for (let image = 0; image < 2; image++) {
      await host.settle()
      expect(await valuesOf(host, transformer, both)).toEqual(expected.both)
      expect(await valuesOf(host, transformer, half, variant)).toEqual(expected.skipping)
      await host.settle()
      expect(await valuesOf(host, transformer, half)).toEqual(expected.plain)
      expect(await valuesOf(host, transformer, half, { skipLayers: [0] })).not.toEqual(expected.skipping)
    }
  })
  expect(again).toBe(0)
  await host.settle()

  // With offload `block`, runs with and without skip-layer guidance keep the same weights on the device.
  const needs = needsFor(transformer, size)
  const networks = new Map([[transformer.name, transformer]])
  const held = heldOn({ device, networks, size }, [needs])
  const maxMemory = Math.floor(held + leastActivations(needs) + 0.95 * weightBytes(needs))
  const tight = hostOf('block', maxMemory)
  await tight.fit(networks, () => true, size, new Run({}))
  await valuesOf(tight, transformer, both)
  const plain = await bytesRead(() => valuesOf(tight, transformer, both))
  expect(plain).toBeGreaterThan(0)
  device.memory.resetPeaks()
  for (let step = 0; step < 3; step++) {
    const bytes = await bytesRead(async () => {
      expect(await valuesOf(tight, transformer, half, variant)).toEqual(expected.skipping)
      expect(await valuesOf(tight, transformer, both)).toEqual(expected.both)
    })
    expect(bytes).toBeLessThanOrEqual(2 * plain)
  }
  await tight.settle()
})
