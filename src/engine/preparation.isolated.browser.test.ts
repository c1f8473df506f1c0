/**
 * Aquatint compiles the kernels of a generation while its weights download or when a LoRA is loaded, and none afterwards. The tests use the public API and its worker, so each pipeline has a GPU
 * device of its own, on which nothing was compiled before. Each family that can start from an image makes two images from one: this runs the encoder, the decoder and a larger batch.
 */
import { expect, onTestFinished, test } from 'vitest'
import { caseOptions } from '../pipelines/testing-cases.js'
import { preparedCase } from '../pipelines/testing-preparation.js'
import { fetchCase } from '../pipelines/testing.js'
import type { PlannedSize } from '../pipelines/types.js'
import { DiffusionPipeline } from './client/diffusion-pipeline.js'
import { countingEngine } from './testing-compilation.js'

/** A grey image. */
function imageOf(width: number, height: number) {
  return { width, height, data: new Uint8ClampedArray(4 * width * height).fill(127) }
}

test.each<readonly [string, PlannedSize]>([
  ['tiny-sd15', {}],
  ['tiny-sdxl', {}],
  ['tiny-sd3', {}],
  ['tiny-sd35', { skipGuidanceLayers: [0] }],
  ['tiny-flux', {}],
  ['tiny-chroma', {}],
  // A reference image has at least 64 pixels along each edge.
  ['tiny-flux2-klein', { width: 64, height: 64 }],
  ['tiny-z-image', {}],
  ['few-steps/lcm', { imageToImage: false }],
])('%s compiles all kernels before its first generation', async (fixture, more) => {
  const { item } = await fetchCase(fixture)
  const planned = { ...preparedCase(item), numImagesPerPrompt: 2, imageToImage: true, ...more }
  const { engine, before, after } = countingEngine()
  onTestFinished(() => engine.terminate())
  const pipeline = await DiffusionPipeline.fromPretrained(new URL(`/fixtures/${fixture}/repo/`, location.href).href, {
    engine,
    device: 'webgpu',
    prepareFor: planned,
  })
  const { imageToImage, ...options } = planned
  const { width = 0, height = 0 } = options
  await pipeline.generate(item.prompt, {
    ...caseOptions(item, pipeline.info.scheduler.className),
    ...options,
    // Skip-layer guidance runs in the first step too.
    skipLayerGuidanceStart: -1,
    ...(imageToImage ? { image: imageOf(width, height), strength: 1 } : {}),
  })
  expect(after).toEqual([])
  expect(before.length).toBeGreaterThan(30)
})

test.each([
  ['tiny-sd15', 'peft', 'after'],
  ['tiny-sdxl', 'peft-xl', 'before'],
  ['tiny-sd3', 'peft-sd3', 'before'],
] as const)(
  '%s compiles no kernel in a generation with the LoRA %s, which is loaded %s a first generation',
  async (fixture, lora, when) => {
    const { item } = await fetchCase(fixture)
    const { engine, before, after } = countingEngine()
    onTestFinished(() => engine.terminate())
    const pipeline = await DiffusionPipeline.fromPretrained(new URL(`/fixtures/${fixture}/repo/`, location.href).href, {
      engine,
      device: 'webgpu',
      prepareFor: preparedCase(item),
    })
    const generate = () => pipeline.generate(item.prompt, caseOptions(item, pipeline.info.scheduler.className))
    if (when === 'after') await generate()
    const count = before.length
    await pipeline.loadLoraWeights(new URL(`/fixtures/lora/${lora}.safetensors`, location.href).href)
    await generate()
    expect(after).toEqual([])
    expect(before.length).toBeGreaterThan(count)
  },
)
