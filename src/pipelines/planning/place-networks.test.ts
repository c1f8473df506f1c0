/** Devices by component: which maps are refused, and pipelines on the CPU alone. device-map.browser.test.ts tests maps with a GPU. */

import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import { CLIPTextModel } from '../../models/text-encoders/clip-text-model.js'
import { UNet2DConditionModel } from '../../models/unets/unet-2d-condition.js'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ComponentNeeds } from '../../memory/needs.js'
import { loadPipeline } from '../diffusion-pipeline.js'
import { readJson, readWeights } from '../../models/testing.node.js'
import { autoencoderOf, heldOn, latentSize, needsOn, type PlannedDevice } from './memory-needs.js'
import type { Network } from '../bind-network.js'
import { budgetOn, parseBudget, type Budget } from '../../memory/budget.js'
import { isRefusal, orThrow } from '../../memory/refusal.js'
import { chooseResidence, offeredMemory } from './residence.js'
import { decidePlaces } from './place-networks.js'
import { stableDiffusionXL } from '../families/stable-diffusion-xl.js'
import { planNetworks } from '../loading/plan-networks.js'
import { diskRepository, fixtures, readCases } from '../testing.node.js'
import { caseOptions } from '../testing-cases.js'
import { relativeError } from '../testing.js'
import type { LoadPipelineOptions, PipelineMemory, PlannedSize } from '../types.js'
import { capabilitiesOf, kindOf, type DeviceInfo, type DeviceName, ownKernels } from '../../memory/device-info.js'

const folder = join(fixtures, 'tiny-sd15/repo')
const all = { text_encoder: 'wasm', unet: 'wasm', vae: 'wasm' } as const

async function refusal(options: LoadPipelineOptions) {
  const repository = diskRepository(folder)
  try {
    await (await loadPipeline(repository, options)).dispose()
  } catch (error) {
    return { ...(error as { code: string; message: string; details: object }), message: String(error), opened: repository.opened }
  }
  throw new Error('It was accepted')
}

test.each<[string, LoadPipelineOptions, string, RegExp]>([
  ['a text in place of a map', { deviceMap: 'auto' as 'balanced' }, 'bad-device-map', /must be 'balanced' or an object/],
  ['an unknown device', { deviceMap: { unet: 'cuda' as 'wasm' } }, 'bad-device-map', /"unet" on "cuda"/],
  [
    'an unknown component',
    { deviceMap: { ...all, transformer: 'wasm' } },
    'bad-device-map',
    /names "transformer".*text_encoder, unet, vae/,
  ],
  ['a component without weights', { deviceMap: { scheduler: 'wasm' } }, 'bad-device-map', /names "scheduler"/],
  ['balanced on one device', { deviceMap: 'balanced', device: 'wasm' }, 'bad-device-map', /device wasm/],
  ['balanced and offload', { deviceMap: 'balanced', offload: 'model' }, 'bad-device-map', /not 'model'/],
  [
    'a budget for an unknown device',
    { maxMemory: { gpu: '1GB' } as LoadPipelineOptions['maxMemory'] },
    'bad-device',
    /maxMemory names "gpu"/,
  ],
  ['an invalid budget', { maxMemory: { wasm: 'much' } }, 'bad-memory-size', /maxMemory\["wasm"\] is "much"/],
  ['a GPU that is not there', { deviceMap: { unet: 'webgpu' }, device: 'wasm' }, 'webgpu-not-available', /no WebGPU adapter/],
  ['a second GPU that is not there', { deviceMap: { ...all, vae: 'webgpu:1' } }, 'no-second-adapter', /no second WebGPU adapter/],
  [
    'a budget of a GPU that is not there',
    { deviceMap: 'balanced', maxMemory: { webgpu: '1GB' } },
    'webgpu-not-available',
    /no WebGPU/,
  ],
])('refuses %s before weights are opened', async (_, options, code, message) => {
  const error = await refusal(options)
  expect(error.code).toBe(code)
  expect(error.message).toMatch(message)
  expect(error.opened.filter((path) => /safetensors/.test(path))).toEqual([])
})

test('the error for a component that fits nowhere says how many bytes are needed and offered', async () => {
  const balanced = await refusal({ deviceMap: 'balanced', maxMemory: { wasm: '100kB' } })
  expect(balanced).toMatchObject({ code: 'does-not-fit', details: { component: 'unet', offered: { wasm: 100_000 } } })
  const named = await refusal({ deviceMap: all, maxMemory: { wasm: '100kB' } })
  expect(named).toMatchObject({ code: 'does-not-fit', details: { component: 'unet', residence: 'model', offered: 100_000 } })
  expect(named.message).toMatch(/unet needs \d+ bytes \(.*\) of memory on wasm .*; 100000 \(100 kB\) are available/)
})

test('a budget for the CPU is kept, one component at a time, with the image of diffusers', async () => {
  const [first] = readCases('tiny-sd15')
  const { item, reference } = first!
  const generate = async (options: LoadPipelineOptions) => {
    const pipeline = await loadPipeline(diskRepository(folder), options)
    let memory: PipelineMemory | undefined
    const { captured } = await pipeline.generate(item.prompt, {
      ...caseOptions(item, pipeline.info.scheduler.className),
      capture: ['image'],
      onProgress: (progress) => {
        if (progress.type === 'memory') memory = progress.memory
      },
    })
    expect(relativeError(captured?.['image'], reference['image']!)).toBeLessThan(1e-4)
    await pipeline.dispose()
    return { info: pipeline.info, memory: memory! }
  }
  const resident = await generate({ deviceMap: 'balanced' })
  const sizes = Object.values(resident.memory.components).map(({ peakWeights }) => peakWeights)
  const largest = Math.max(...sizes)
  expect(resident.memory.peakWeights).toBe(sizes.reduce((sum, bytes) => sum + bytes, 0))
  const model = await generate({ deviceMap: { '': 'wasm' }, maxMemory: { wasm: largest } })
  expect(model.info.components['unet']).toMatchObject({ device: 'wasm' })
  expect(Object.keys(model.info.devices)).toEqual(['wasm'])
  expect(model.memory.peakWeights).toBe(largest)
  expect(model.memory.devices['wasm']).toMatchObject({ peakWeights: largest, liveWeights: 0 })
})

const info = (name: DeviceInfo['name']): DeviceInfo => ({
  name,
  kind: kindOf[name],
  description: '',
  isFallbackAdapter: false,
  shaderF16: false,
  maxBufferSize: 2 ** 31,
  kernels: ownKernels,
  capabilities: capabilitiesOf[kindOf[name]],
})

const needsOfBytes = (name: string, bytes: number, activationBytes = 1): ComponentNeeds => ({
  name,
  blocks: [{ name: '', bytes }],
  sharedBytes: 0,
  largestWeight: { name: `${name}.weight`, bytes: 1 },
  ways: [{ activationBytes, largestValue: { name: '', bytes: 1 }, inputs: [] }],
})

test('a budget is for all GPUs, or by device', () => {
  const plain = parseBudget('6GB')
  const offered = (budget: Budget, name: DeviceName) => offeredMemory(budgetOn(budget, info(name)), info(name))
  expect([budgetOn(plain, info('webgpu:1')), budgetOn(plain, info('wasm'))]).toEqual([{ limit: 6e9 }, { target: 6e9 }])
  expect([offered(plain, 'webgpu'), offered(plain, 'wasm')]).toEqual([6e9, 1e9])
  const named = parseBudget({ webgpu: '2GiB', wasm: 5000 })
  const limits = (['webgpu', 'webgpu:1', 'wasm'] as const).map((name) => budgetOn(named, info(name)).limit)
  expect(limits).toEqual([2 ** 31, undefined, 5000])
  expect(offered(named, 'webgpu:1')).toBe(2 ** 32)
  // A budget that names the CPU limits it; a budget for GPUs only decides whether all weights stay on the CPU.
  const needs = [needsOfBytes('n0', 600), needsOfBytes('n1', 500)]
  const onCpu = (maxMemory: LoadPipelineOptions['maxMemory'], mode: LoadPipelineOptions['offload'] = 'auto') => {
    const device = info('wasm')
    return chooseResidence({ mode, needs, budget: budgetOn(parseBudget(maxMemory), device), device })
  }
  expect([onCpu(undefined), onCpu(1100), onCpu(100), onCpu({ wasm: 1100 }), onCpu({ wasm: 1099 })]).toEqual([
    'resident',
    'resident',
    'model',
    'resident',
    'model',
  ])
  expect([onCpu(undefined, 'block'), onCpu({ wasm: 600 }, 'block')]).toEqual(['model', 'model'])
  expect(onCpu({ wasm: 599 })).toMatchObject({ message: expect.stringMatching(/n0 needs 600 bytes .* 599/) as string })
  expect(onCpu({ wasm: 1099 }, 'resident')).toMatchObject({
    message: expect.stringMatching(/n0, n1 needs 1100 bytes/) as string,
  })
})

/** The description of a GPU, and the fixtures' networks to place on it. */
const gpu = (name: 'webgpu' | 'webgpu:1' = 'webgpu', maxBufferSize = 2 ** 31): PlannedDevice => ({
  info: { ...info(name), maxBufferSize },
  writeOptions: ({ granularity }) => ({ dtype: 'float32', weights: 'input', granularity }),
})
const networks = new Map(
  (
    [
      ['text_encoder', CLIPTextModel],
      ['unet', UNet2DConditionModel],
      ['vae', AutoencoderKL],
    ] as const
  ).map(([name, definition]): [string, Network] => {
    const place = join(folder, name)
    return [
      name,
      { name, model: definition.fromConfig(readJson(join(place, 'config.json'))), table: readWeights(place), repo: 'tiny-sd15' },
    ]
  }),
)
const decide = (devices: PlannedDevice[], maxMemory: LoadPipelineOptions['maxMemory'], named?: ReadonlyMap<string, DeviceName>) =>
  decidePlaces({
    devices,
    places: named ?? null,
    budget: parseBudget(maxMemory),
    networks,
    options: {},
    wanted: () => latentSize(networks),
  })
const onGpu = new Map([...networks.keys()].map((name) => [name, 'webgpu'] as const))

/** The smallest budget, in bytes, that `decided` does not refuse. */
function leastBudget(decided: (maxMemory: number) => unknown): number {
  let [low, high] = [1, 2 ** 30]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (isRefusal(decided(middle))) low = middle + 1
    else high = middle
  }
  return low
}

test('balanced places count the tensors that stay beside the networks: within the least budget all weights stay', () => {
  const least = leastBudget((maxMemory) => decide([gpu()], { webgpu: maxMemory }))
  const [place] = orThrow(decide([gpu()], { webgpu: least })).used
  expect(place).toMatchObject({ offload: 'resident' })
  const weights = place!.needs.reduce(
    (sum, { blocks, sharedBytes }) => sum + blocks.reduce((all, { bytes }) => all + bytes, sharedBytes),
    0,
  )
  const runs = Math.max(...place!.needs.map(({ ways }) => Math.min(...ways.map(({ activationBytes }) => activationBytes))))
  expect(least).toBe(weights + runs + place!.heldBytes)
  expect(place!.heldBytes).toBeGreaterThan(0)
  // A budget for GPUs alone does not offload the CPU's weights.
  const both = orThrow(decide([gpu(), { ...gpu(), info: info('wasm') }], 1000))
  expect(both.used.map(({ device, offload }) => [device.info.name, offload])).toEqual([['wasm', 'resident']])
})

/** The residence for an image, by default of the model's own size, or a refusal if it does not fit. */
const fits = (maxMemory: number, guided: boolean, size = latentSize(networks)) => {
  const request = { device: gpu(), networks, here: () => true, dtype: 'float32', vaeTiling: undefined } as const
  const needs = needsOn({ ...request, size: { ...size, guided } })
  const heldBytes = heldOn({ ...request, size: { ...size, guided } }, needs)
  const device = gpu().info
  return chooseResidence({ mode: 'auto', needs, heldBytes, budget: budgetOn(parseBudget(maxMemory), device), device })
}

/** Plans a generation on a GPU with this budget. */
const planned = (maxMemory: number, options: PlannedSize) =>
  planNetworks(
    { devices: new Map([['webgpu', gpu()]]), places: onGpu, budget: parseBudget(maxMemory) },
    networks,
    options,
    stableDiffusionXL,
  )

test('a load is not refused for memory that only guidance takes', () => {
  const guided = leastBudget((maxMemory) => fits(maxMemory, true))
  const without = leastBudget((maxMemory) => fits(maxMemory, false))
  expect(without).toBeLessThan(guided)
  expect(leastBudget((maxMemory) => decide([gpu()], maxMemory, onGpu))).toBe(without)
  expect(isRefusal(planned(without, { guidanceScale: 1 }))).toBe(false)
  expect(planned(without, {})).toMatchObject({ refused: 'does-not-fit' })
})

test('a plan is not refused for memory that only a larger image takes', () => {
  const usual = latentSize(networks)
  const small = { width: usual.width / 2, height: usual.height / 2 }
  const least = leastBudget((maxMemory) => fits(maxMemory, true, { ...usual, ...small }))
  expect(least).toBeLessThan(leastBudget((maxMemory) => fits(maxMemory, false)))
  const factor = autoencoderOf(networks)!.model.scaleFactor
  const size = { width: small.width * factor, height: small.height * factor }
  expect(leastBudget((maxMemory) => planned(maxMemory, size))).toBe(least)
})

test('a tensor larger than any buffer of the GPU is refused by name, and balanced puts its network on another device', () => {
  const sizes = [...networks.get('unet')!.table.values()].map(({ begin, end }) => end - begin)
  const largest = Math.max(...sizes)
  const narrow = gpu('webgpu', largest - 1)
  expect(decide([narrow], undefined, onGpu)).toMatchObject({
    refused: 'buffer-too-large',
    details: { component: 'unet', bytes: largest, allowed: largest - 1 },
  })
  const { placed } = orThrow(decide([narrow, { ...gpu(), info: info('wasm') }], undefined))
  expect(placed.get('unet')).toBe('wasm')
})
