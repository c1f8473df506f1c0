/**
 * A LoRA on WebGPU, as branches and fused into weights. Streamed block by block, it gives the result of onnxruntime's CPU kernels, which
 * lora.parity.test.ts compares with diffusers.
 */

import { afterEach, expect, test } from 'vitest'
import cases from '../../fixtures/lora/cases.json' with { type: 'json' }
import float16 from '../../fixtures/lora/fused-float16.json' with { type: 'json' }
import kohyaUrl from '../../fixtures/lora/kohya.safetensors?url'
import peftUrl from '../../fixtures/lora/peft.safetensors?url'
import referenceUrl from '../../fixtures/lora/reference-5.safetensors?url'
import { memoryRepository } from '../checkpoint/testing.js'
import { planMemory } from '../memory/plan.js'
import { orThrow } from '../memory/refusal.js'
import { countDispatches, type DispatchCount } from '../runtime/webgpu/testing-dispatches.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'
import { loadPipeline } from './diffusion-pipeline.js'
import { families } from './families.js'
import { createPipeline } from './generation/loaded-pipeline.js'
import { openPipeline } from './loading/open-pipeline.js'
import { autoencoderOf, heldOn, needsOn } from './planning/memory-needs.js'
import { caseOptions, parseReference, type FixtureCase } from './testing-cases.js'
import { relativeError, rms, servedRepository } from './testing.js'
import type { CapturedTensors, GenerateOptions, LoadPipelineOptions } from './types.js'

shareGpuDevices()

const repository = servedRepository('tiny-sd15', import.meta.glob('../../fixtures/tiny-sd15/repo/**'))

async function fetchBytes(url: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await fetch(url)).arrayBuffer())
}

async function lora(url: string) {
  return { repository: memoryRepository({ 'a.safetensors': await fetchBytes(url) }), path: 'a.safetensors' }
}

async function generate(options: LoadPipelineOptions, isFused = false): Promise<CapturedTensors> {
  const pipeline = await loadPipeline(repository, options)
  await pipeline.adapters({ type: 'load', source: await lora(kohyaUrl), options: { scale: 0.7 } })
  if (isFused) await pipeline.adapters({ type: 'fuse' })
  const { captured = {}, warnings } = await pipeline.generate('a cute dog', {
    numInferenceSteps: 1,
    width: 64,
    height: 64,
    seed: 1,
    capture: ['prompt_embeds', 'noise_pred'],
  })
  expect(warnings).toEqual([])
  await pipeline.dispose()
  return captured
}

test('streamed block by block, a LoRA gives the same result as on the CPU, as branches and fused', async () => {
  const expected = await generate({ device: 'wasm' })
  // This budget is between the UNet's minimum and what it needs with all weights on the GPU.
  const streamed = { device: 'webgpu', offload: 'block', maxMemory: 34_600_000 } as const
  for (const isFused of [false, true]) {
    const actual = await generate(streamed, isFused)
    for (const [name, values] of Object.entries(expected)) {
      // Both compute in float32; each is within 1e-4 of diffusers.
      expect(relativeError(actual[name], values), `${name}, ${isFused}`).toBeLessThan(2e-4)
    }
  }
})

/** Counts the dispatches of the current test. */
let counting: DispatchCount | undefined
afterEach(() => counting?.end())

/** The dispatches since the last call: those of uploads that add a LoRA, and those of runs. Other uploads are not counted. */
function counted({ dispatches }: DispatchCount): { readonly added: number; readonly runs: number } {
  const runs = [...dispatches].reduce((sum, [label, count]) => (/^(AddLora|ToChannelsLast)$/.test(label) ? sum : sum + count), 0)
  const added = dispatches.get('AddLora') ?? 0
  dispatches.clear()
  return { added, runs }
}

/** Two LoRAs; the first has some of the second one's layers. */
const item = cases[float16.case] as unknown as FixtureCase & { readonly weights: readonly number[] }

test.for(['float32', 'float16'] as const)(
  '%s: fused LoRAs make what diffusers makes, with as many dispatches as a run without LoRAs',
  async (dtype, { skip }) => {
    const opened = await openPipeline(repository, { device: 'webgpu', dtype, offload: 'resident' }, families)
    const pipeline = createPipeline(opened)
    const { device } = opened.hosts.of('unet')
    if (dtype === 'float16' && !device.info.shaderF16) {
      await pipeline.dispose()
      skip('This GPU has no shader-f16.')
    }
    const count = countDispatches()
    counting = count
    const make = async (more: GenerateOptions = {}) => {
      const options = { ...caseOptions(item, ''), capture: ['prompt_embeds', 'noise_pred', 'latents'] as const }
      const { captured = {}, warnings } = await pipeline.generate(item.prompt, { ...options, ...more })
      expect(warnings).toEqual([])
      return { captured, ...counted(count) }
    }
    const one = { numInferenceSteps: 1 }
    const plain = await make(one)
    await pipeline.adapters({ type: 'load', source: await lora(peftUrl), options: { adapterName: 'peft' } })
    await pipeline.adapters({ type: 'load', source: await lora(kohyaUrl), options: { adapterName: 'kohya' } })
    const { weights } = item
    const [, kohya] = await pipeline.adapters({ type: 'set', names: ['peft', 'kohya'], weights })
    const branches = await make(one)
    expect(branches.runs).toBeGreaterThan(plain.runs)
    expect(branches.added).toBe(0)

    await pipeline.adapters({ type: 'fuse' })
    const stop = new AbortController()
    const onProgress = ({ type, component }: { readonly type: string; readonly component?: unknown }) => {
      if (type === 'weights' && component === 'unet') stop.abort()
    }
    await expect(
      pipeline.generate(item.prompt, { ...caseOptions(item, ''), signal: stop.signal, onProgress }),
    ).rejects.toMatchObject({ name: 'AbortError' })
    const cancelled = counted(count)
    device.buffers?.trim()
    device.memory.resetPeaks()
    const fused = await make(one)
    expect(fused.runs).toBe(plain.runs)
    // The text encoder was loaded before the cancel.
    expect(cancelled.added + fused.added).toBe(kohya!.layers)
    const factor = autoencoderOf(opened.parts.networks)!.model.scaleFactor
    const size = { width: item.width / factor, height: item.height / factor, guided: true }
    const request = { device, networks: opened.parts.networks, here: () => true, dtype, vaeTiling: undefined, size } as const
    const needs = needsOn(request)
    const plan = orThrow(planMemory(needs, { offload: 'resident', maxMemory: 1e9, heldBytes: heldOn(request, needs) }))
    expect(device.memory.snapshot().peak).toBeLessThanOrEqual(plan.peakBytes)

    const reference = parseReference(await fetchBytes(referenceUrl))
    const { captured, added } = await make()
    expect(added).toBe(0)
    for (const [name, expected] of Object.entries(reference))
      if (dtype === 'float32') expect.soft(relativeError(captured[name], expected), name).toBeLessThanOrEqual(1e-4)
    if (dtype === 'float16')
      for (const name of ['noise_pred_0', 'latents_1'] as const)
        expect.soft(rms(captured[name], reference[name]!), name).toBeLessThanOrEqual(1.5 * float16.rms[name])

    await pipeline.adapters({ type: 'unfuse' })
    await pipeline.adapters({ type: 'set', names: [] })
    expect((await make(one)).captured).toEqual(plain.captured)
    await pipeline.dispose()
    expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  },
)
