/**
 * One picture of each of two families on WebGPU, in one step: the GPU's picture equals that of onnxruntime's CPU kernels, which the tests
 * of whole pipelines in Node compare with diffusers. It is the only browser test of `npm run check`. In `npm test` it runs in Chromium,
 * with one family, because first-cases.browser.test.ts compares pictures in Firefox with diffusers. The weights arrive only when all
 * kernels are compiled, and no kernel may be compiled afterwards.
 */
import { expect, test } from 'vitest'
import { loadPipeline } from './diffusion-pipeline.js'
import { caseOptions } from './testing-cases.js'
import { prepareFirst } from './testing-preparation.js'
import { fetchCase, psnr, relativeError, servedRepository } from './testing.js'
import type { CapturedTensors } from './types.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const repositories = {
  'tiny-sdxl': servedRepository('tiny-sdxl', import.meta.glob('../../fixtures/tiny-sdxl/repo/**')),
  'tiny-sd3': servedRepository('tiny-sd3', import.meta.glob('../../fixtures/tiny-sd3/repo/**')),
}

async function makePicture(name: keyof typeof repositories, device: 'webgpu' | 'wasm'): Promise<CapturedTensors> {
  const { item } = await fetchCase(name)
  const prepared = device === 'webgpu' ? prepareFirst(repositories[name], item) : undefined
  try {
    const pipeline = await loadPipeline(prepared?.repository ?? repositories[name], { device, ...prepared?.options })
    const { captured, warnings } = await pipeline.generate(item.prompt, {
      ...caseOptions(item, ''),
      numInferenceSteps: 1,
      capture: ['prompt_embeds', 'noise_pred', 'latents', 'image'],
    })
    await pipeline.dispose()
    expect(warnings).toEqual([])
    if (prepared !== undefined) {
      // Every kernel of the picture was compiled when the last byte arrived.
      expect(prepared.compiled().after).toEqual([])
      expect(prepared.compiled().before).toBeGreaterThan(10)
    }
    return captured ?? {}
  } finally {
    prepared?.end()
  }
}

/** Chromium's software GPU compiles kernels for as long as half a minute, so it gets one family. */
const names = navigator.userAgent.includes('Firefox') ? (['tiny-sdxl', 'tiny-sd3'] as const) : (['tiny-sd3'] as const)

test.each(names)('%s makes the same picture on both devices', async (name) => {
  const expected = await makePicture(name, 'wasm')
  const actual = await makePicture(name, 'webgpu')
  expect(Object.keys(actual)).toEqual(Object.keys(expected))
  // Both compute in float32; each is within 1e-4 of diffusers.
  for (const [tensor, values] of Object.entries(expected)) {
    if (tensor !== 'image') expect.soft(relativeError(actual[tensor], values), tensor).toBeLessThan(2e-4)
  }
  expect(psnr(actual['image']!, expected['image']!)).toBeGreaterThan(80)
})
