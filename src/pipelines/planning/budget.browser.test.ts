/**
 * Compares budgets with measurements: runs whole pipelines of fixtures/tiny-sdxl on a real GPU device, with budgets from all weights down to a
 * tenth of them, and reads the account of every buffer.
 */

import { afterEach, beforeAll, expect, test } from 'vitest'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import { planMemory, type Residence } from '../../memory/plan.js'
import type { MemorySnapshot } from '../../runtime/types.js'
import { heldOn, needsOn } from './memory-needs.js'
import { orThrow } from '../../memory/refusal.js'
import { openPipeline } from '../loading/open-pipeline.js'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { planPipeline } from '../loading/plan-pipeline.js'
import { stableDiffusionXL } from '../families/stable-diffusion-xl.js'
import { createPipeline } from '../generation/loaded-pipeline.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, servedRepository } from '../testing.js'
import type { LoadPipelineOptions, PlainTensor } from '../types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const repository = servedRepository('tiny-sdxl', import.meta.glob('../../../fixtures/tiny-sdxl/repo/**'))
const { item } = await fetchCase('tiny-sdxl')

let pipeline: LoadedPipeline | undefined
afterEach(async () => pipeline?.dispose())

interface Outcome {
  readonly image: PlainTensor
  readonly offload: Residence
  readonly memory: MemorySnapshot
  /** The needs of the networks for this image, in the order they run. */
  readonly needs: readonly ComponentNeeds[]
  /** The bytes that stay beside the networks: prompt embeddings, latents. */
  readonly held: number
}

/** Makes an image in two steps, and disposes the pipeline. */
async function makeImage(options: LoadPipelineOptions): Promise<Outcome> {
  const opened = await openPipeline(repository, { ...options, device: 'webgpu' }, [stableDiffusionXL])
  const { device, dtype, offload } = opened.hosts.of('unet')
  const size = { width: item.width / 8, height: item.height / 8 }
  const request = { device, networks: opened.parts.networks, here: () => true, dtype, vaeTiling: undefined, size }
  const needs = needsOn(request)
  const held = heldOn(request, needs)
  pipeline = createPipeline(opened)
  const { captured, warnings } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, ''),
    numInferenceSteps: 2,
    capture: ['image'],
  })
  expect(warnings).toEqual([])
  const memory = device.memory.snapshot()
  expect(opened.hosts.memory).toEqual({ ...memory, devices: { webgpu: memory } })
  await pipeline.dispose()
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  expect(opened.hosts.memory.live).toBe(0)
  return { image: captured!['image']!, offload, memory, needs, held }
}

let whole: Outcome
beforeAll(async () => {
  whole = await makeImage({ offload: 'resident' })
})

test('resident: all weights stay, to the byte, within the plan, and none are left after dispose', () => {
  const { needs, held, memory, offload } = whole
  expect(offload).toBe('resident')
  const all = needs.reduce((sum, need) => sum + weightBytes(need), 0)
  expect(memory).toMatchObject({ liveWeights: all, peakWeights: all })
  // Also without a budget, the buffers that are kept for reuse stay within the plan.
  const plan = orThrow(planMemory(needs, { offload, maxMemory: 1e9, heldBytes: held }))
  expect(memory.peak).toBeLessThanOrEqual(plan.peakBytes)
})

test('model: the peak of weights is the largest component, the image is the same, and none are left after the image', async () => {
  const { needs, memory, image, offload } = await makeImage({ offload: 'model' })
  expect(offload).toBe('model')
  expect(memory.peakWeights).toBe(Math.max(...needs.map(weightBytes)))
  expect(memory.liveWeights).toBe(0)
  for (const need of needs) expect(memory.components[need.name]?.peakWeights, need.name).toBe(weightBytes(need))
  expect(image).toEqual(whole.image)
})

test.each([
  [1, 'resident'],
  [0.5, 'model'],
  [0.4, 'model'],
  [0.1, 'block'],
])('auto: measured ≤ planned ≤ budget for %d of the weights (%s), with the same bits', async (share, residence) => {
  const { needs, held, image } = whole
  const weights = needs.reduce((sum, need) => sum + weightBytes(need), 0)
  // The budget is for all buffers, so activations and the tensors that stay beside the networks are added to the share of the weights.
  const maxMemory = held + Math.max(...needs.map(({ ways }) => ways[0]!.activationBytes)) + Math.floor(weights * share)
  const plan = orThrow(planMemory(needs, { offload: 'auto', maxMemory, heldBytes: held }))
  const { width, height } = item
  const planned = await planPipeline(repository, { device: 'webgpu', maxMemory, width, height }, [stableDiffusionXL])
  expect(planned.devices.webgpu).toEqual(plan)
  const outcome = await makeImage({ maxMemory })
  expect([plan.residence, outcome.offload]).toEqual([residence, residence])
  expect(outcome.image).toEqual(image)
  expect(plan.peakBytes).toBeLessThanOrEqual(maxMemory)
  expect(outcome.memory.peak).toBeLessThanOrEqual(plan.peakBytes)
  for (const part of plan.components)
    expect(outcome.memory.components[part.name]?.peakWeights, part.name).toBe(part.peakWeightBytes)
  const peaks = plan.components.map((part) => part.peakWeightBytes)
  expect(outcome.memory.peakWeights).toBe(residence === 'resident' ? weights : Math.max(...peaks))
})

test('an image larger than the default size stays within the budget too: its weights stay for a shorter time, with the same bits', async () => {
  const large = { width: 2 * item.width, height: 2 * item.height }
  const settings = { ...caseOptions(item, ''), ...large, numInferenceSteps: 1, capture: ['image'] } as const
  const one = await planPipeline(repository, { device: 'webgpu', offload: 'model', maxMemory: '1GB', ...large }, [
    stableDiffusionXL,
  ])
  const maxMemory = one.devices.webgpu!.peakBytes

  pipeline = await loadPipeline(repository, { device: 'webgpu', offload: 'resident' })
  const { captured: expected } = await pipeline.generate(item.prompt, settings)
  await pipeline.dispose()

  const opened = await openPipeline(repository, { device: 'webgpu', maxMemory }, [stableDiffusionXL])
  pipeline = createPipeline(opened)
  const host = opened.hosts.of('unet')
  expect(host.offload).toBe('resident')
  const tooLarge = { ...settings, width: 512, height: 512 }
  await expect(pipeline.generate(item.prompt, tooLarge)).rejects.toMatchObject({
    code: 'does-not-fit',
    details: { component: 'unet' },
  })
  expect(host.device.memory.snapshot().peak).toBe(0)

  const { captured, warnings } = await pipeline.generate(item.prompt, settings)
  expect(warnings).toEqual([
    expect.stringMatching(/^Pictures of this size and number do not fit in .* these are made with offload model\.$/),
  ])
  expect(captured!['image']).toEqual(expected!['image'])
  expect(host.device.memory.snapshot().peak).toBeLessThanOrEqual(maxMemory)
  const usual = await pipeline.generate(item.prompt, { ...settings, width: item.width, height: item.height })
  expect(usual.warnings).toEqual([])
  expect(host.offload).toBe('resident')
})

test('a pipeline loads for a smaller image in a budget that is too small for its default size, and makes that image', async () => {
  const small = { width: item.width / 4, height: item.height / 4 }
  const plan = (more: Parameters<typeof planPipeline>[1]) =>
    planPipeline(repository, { device: 'webgpu', ...more }, [stableDiffusionXL])
  // Raises the budget, from the bytes that one component needs, until the plan is not refused.
  const refusal = await plan({ ...small, maxMemory: 1 }).catch((error: unknown) => error)
  expect(refusal).toMatchObject({ code: 'does-not-fit' })
  const { needed, offered } = (refusal as { details: { needed: number; offered: number } }).details
  let maxMemory = needed - offered
  while (
    await plan({ ...small, maxMemory }).then(
      () => false,
      () => true,
    )
  )
    maxMemory = Math.ceil(maxMemory * 1.05)
  await expect(plan({ maxMemory })).rejects.toMatchObject({ code: 'does-not-fit' })
  await expect(openPipeline(repository, { device: 'webgpu', maxMemory }, [stableDiffusionXL])).rejects.toMatchObject({
    code: 'does-not-fit',
  })

  const opened = await openPipeline(repository, { device: 'webgpu', maxMemory, prepareFor: small }, [stableDiffusionXL])
  pipeline = createPipeline(opened)
  const settings = { ...caseOptions(item, ''), ...small, numInferenceSteps: 1 }
  const { images } = await pipeline.generate(item.prompt, settings)
  expect(images).toMatchObject([small])
  expect(opened.hosts.of('unet').device.memory.snapshot().peak).toBeLessThanOrEqual(maxMemory)
  await expect(pipeline.generate(item.prompt, caseOptions(item, ''))).rejects.toMatchObject({ code: 'does-not-fit' })
})
