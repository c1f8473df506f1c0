/** A pipeline over several devices: text encoders on the CPU, the denoiser on a GPU, other components on a second GPU, as `deviceMap` says. */

import { afterEach, describe, expect, test, vi } from 'vitest'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, psnr, relativeError, servedRepository } from '../testing.js'
import type { MemorySnapshot } from '../../runtime/types.js'
import type { LoadPipelineOptions, PipelineMemory } from '../types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const name = 'tiny-sdxl'
const repository = servedRepository(name, import.meta.glob('../../../fixtures/tiny-sdxl/repo/**'))

let pipeline: LoadedPipeline | undefined
afterEach(async () => {
  await pipeline?.dispose()
  pipeline = undefined
  vi.restoreAllMocks()
})

async function load(options: LoadPipelineOptions): Promise<Record<string, string>> {
  pipeline = await loadPipeline(repository, options)
  return Object.fromEntries(Object.entries(pipeline.info.components).map(([component, { device }]) => [component, device]))
}

/** Generates the fixture's first image, compares it with diffusers', and returns the memory account after the generation. */
async function makeImage(): Promise<PipelineMemory> {
  const { item, reference } = await fetchCase(name)
  const memory: PipelineMemory[] = []
  const { captured = {}, warnings } = await pipeline!.generate(item.prompt, {
    ...caseOptions(item, ''),
    capture: ['prompt_embeds', 'latents', 'image'],
    onProgress: (progress) => {
      if (progress.type === 'memory') memory.push(progress.memory)
    },
  })
  // The tolerances of docs/architecture.md for float32.
  expect(relativeError(captured['prompt_embeds'], reference['prompt_embeds']!)).toBeLessThan(1e-4)
  expect(relativeError(captured['latents_3'], reference['latents_3']!)).toBeLessThan(1e-4)
  expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(80)
  expect(warnings).toEqual([])
  return memory.at(-1)!
}

function weightOwners({ components }: MemorySnapshot): string[] {
  return Object.keys(components).filter((component) => components[component]!.peakWeights > 0)
}

/** The components that have had weights on each device, according to the memory account. */
function held({ devices }: PipelineMemory): Record<string, string[]> {
  return Object.fromEntries(Object.entries(devices).map(([device, memory]) => [device, weightOwners(memory)]))
}

test('text encoders on wasm and the rest on webgpu give the image of diffusers', async () => {
  const places = { text_encoder: 'wasm', text_encoder_2: 'wasm', unet: 'webgpu', vae: 'webgpu' } as const
  expect(await load({ deviceMap: { text_encoder: 'wasm', text_encoder_2: 'wasm' }, device: 'webgpu' })).toEqual(places)
  expect(pipeline!.info).toMatchObject({ device: { name: 'webgpu' }, devices: { webgpu: {}, wasm: { kind: 'wasm' } } })
  const memory = await makeImage()
  expect(held(memory)).toEqual({ wasm: ['text_encoder', 'text_encoder_2'], webgpu: ['unet', 'vae'] })
  const { webgpu, wasm } = memory.devices
  expect(memory.liveWeights).toBe(webgpu!.liveWeights + wasm!.liveWeights)
  expect(memory.components['unet']).toEqual(webgpu!.components['unet'])
})

test('balanced fills the GPU first, beginning with the largest component', async () => {
  // The UNet takes 1.69 MB of weights and 0.41 MB of activations. None of the other components, with 0.85 MB of weights together, fits beside it.
  expect(await load({ deviceMap: 'balanced', maxMemory: { webgpu: '2.3MB', wasm: '900kB' } })).toEqual({
    text_encoder: 'wasm',
    text_encoder_2: 'wasm',
    unet: 'webgpu',
    vae: 'wasm',
  })
  await expect(load({ deviceMap: 'balanced', maxMemory: { webgpu: '1MB', wasm: '1.2MB' } })).rejects.toMatchObject({
    code: 'does-not-fit',
    details: { component: 'unet', offered: { webgpu: 1_000_000, wasm: 1_200_000 } },
  })
})

describe('a second adapter', () => {
  test('that is the first one again is an error with a code', async () => {
    await expect(load({ deviceMap: { vae: 'webgpu:1' }, device: 'webgpu' })).rejects.toMatchObject({
      code: 'no-second-adapter',
      details: { device: 'webgpu:1' },
    })
  })

  test('has a GPUDevice of its own, and tensors that move to it give the same image', async () => {
    // The machine has one adapter. With `powerPreference: 'low-power'`, the test gives the adapter another `info`, so the pipeline
    // takes it for a second adapter and opens two real devices.
    const requestAdapter = navigator.gpu.requestAdapter.bind(navigator.gpu)
    vi.spyOn(navigator.gpu, 'requestAdapter').mockImplementation(async (options) => {
      const adapter = await requestAdapter(options)
      if (adapter === null || options?.powerPreference !== 'low-power') return adapter
      const { info } = adapter
      const { vendor, architecture, isFallbackAdapter, subgroupMinSize } = info
      Object.defineProperty(adapter, 'info', {
        value: { vendor, architecture, device: 'second', description: 'second', isFallbackAdapter, subgroupMinSize },
      })
      return adapter
    })
    const requestDevice = vi.spyOn(GPUAdapter.prototype, 'requestDevice')
    expect(await load({ deviceMap: { '': 'webgpu:1', unet: 'webgpu' } })).toEqual({
      text_encoder: 'webgpu:1',
      text_encoder_2: 'webgpu:1',
      unet: 'webgpu',
      vae: 'webgpu:1',
    })
    expect(requestDevice).toHaveBeenCalledTimes(2)
    expect(pipeline!.info.devices['webgpu:1']).toMatchObject({ name: 'webgpu:1', kind: 'webgpu' })
    const memory = await makeImage()
    expect(held(memory)).toEqual({ 'webgpu:1': ['text_encoder', 'text_encoder_2', 'vae'], webgpu: ['unet'] })
  })
})
