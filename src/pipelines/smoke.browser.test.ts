/**
 * One picture of each of two families on WebGPU, in one step: the GPU's picture equals that of onnxruntime's CPU kernels, which the tests of whole
 * pipelines in Node compare with diffusers. It is the only browser test of `npm run check`. In `npm test` it runs in Chromium, with one family, because
 * first-cases.browser.test.ts compares pictures in Firefox with diffusers. Its kernels are compiled while the weights "download": none afterwards.
 */
import { expect, test, vi } from 'vitest'
import type { Repository } from '../hub/types.js'
import { loadPipeline } from './diffusion-pipeline.js'
import { caseOptions } from './testing-cases.js'
import { fetchCase, psnr, relativeError, servedRepository } from './testing.js'
import type { CapturedTensors } from './types.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const repositories = {
  'tiny-sdxl': servedRepository('tiny-sdxl', import.meta.glob('../../fixtures/tiny-sdxl/repo/**')),
  'tiny-sd3': servedRepository('tiny-sd3', import.meta.glob('../../fixtures/tiny-sd3/repo/**')),
}

/** The repository as one whose weights arrive only when `arrived` resolves; their headers can be read before. */
function arriving(repository: Repository, arrived: Promise<void>): Repository {
  return {
    ...repository,
    open: async (path, options) => {
      if (path.endsWith('.safetensors')) await arrived
      return repository.open(path, options)
    },
    openHeaderOnly: async (path, options) => {
      const source = await repository.open(path, options)
      return { byteLength: source.byteLength, read: source.read.bind(source), cost: () => ({ fetched: 0, kept: 0 }) }
    },
  }
}

function gate(): { readonly arrived: Promise<void>; readonly arrive: () => void } {
  const opened: (() => void)[] = []
  const arrived = new Promise<void>((resolve) => void opened.push(resolve))
  return { arrived, arrive: () => opened[0]?.() }
}

/** Counts the kernels that all code of this page compiles. */
function countPipelines(): () => number {
  const spies = [
    vi.spyOn(GPUDevice.prototype, 'createComputePipeline'),
    vi.spyOn(GPUDevice.prototype, 'createComputePipelineAsync'),
  ]
  return () => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0)
}

async function makePicture(name: keyof typeof repositories, device: 'webgpu' | 'wasm'): Promise<CapturedTensors> {
  const { item } = await fetchCase(name)
  const compiled = device === 'webgpu' ? countPipelines() : () => 0
  const { arrived, arrive } = gate()
  let before = 0
  const pipeline = await loadPipeline(arriving(repositories[name], arrived), {
    device,
    prepareFor:
      device === 'webgpu'
        ? { width: item.width, height: item.height, maxSequenceLength: caseOptions(item, '').maxSequenceLength }
        : undefined,
    onPreparation: (preparation) =>
      void preparation.done().then(() => {
        before = compiled()
        return arrive()
      }),
    ...(device === 'wasm' ? { onProgress: arrive } : {}),
  })
  const { captured, warnings } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, ''),
    numInferenceSteps: 1,
    capture: ['prompt_embeds', 'noise_pred', 'latents', 'image'],
  })
  // Every kernel of the picture was there when the last byte arrived.
  expect(compiled()).toBe(before)
  if (device === 'webgpu') expect(before).toBeGreaterThan(10)
  vi.restoreAllMocks()
  await pipeline.dispose()
  expect(warnings).toEqual([])
  return captured ?? {}
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
