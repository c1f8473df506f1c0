/**
 * Aquatint compiles the kernels of a generation while its weights download or when a LoRA is loaded, and none afterwards. The tests use the
 * public API and its worker, so each pipeline has a GPU device of its own, on which nothing was compiled before. If a family can start from
 * an image, the test makes two images from a start image, which runs the encoder, the decoder and a larger batch.
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

/** Loads a fixture's pipeline in a worker of its own and counts the kernels that the worker compiles. */
async function load(fixture: string, prepareFor: PlannedSize) {
  const { engine, before, after } = countingEngine()
  onTestFinished(() => engine.terminate())
  const pipeline = await DiffusionPipeline.fromPretrained(servedAt(`${fixture}/repo/`), { engine, device: 'webgpu', prepareFor })
  return { pipeline, before, after }
}

const servedAt = (path: string) => new URL(`/fixtures/${path}`, location.href).href

interface FamilyCase extends PlannedSize {
  /** How many steps the first generation has. Default 2: every step of most schedulers computes with the same kernels. */
  readonly steps?: number
  /** A LoRA that is loaded after the first generation. A second generation then runs with it. */
  readonly lora?: string
}

test.each<readonly [string, FamilyCase]>([
  // PNDM's fifth step is the first that uses four predictions.
  ['tiny-sd15', { lora: 'peft', steps: 5 }],
  ['tiny-sdxl', { lora: 'peft-xl' }],
  ['tiny-sd3', {}],
  ['tiny-sd35', { skipGuidanceLayers: [0] }],
  ['tiny-flux', {}],
  ['tiny-chroma', {}],
  // A reference image has at least 64 pixels along each edge.
  ['tiny-flux2-klein', { width: 64, height: 64 }],
  ['tiny-z-image', {}],
  ['few-steps/lcm', { imageToImage: false }],
])(
  '%s compiles all kernels before its first generation, and those of a LoRA when it is loaded',
  async (fixture, { lora, steps = 2, ...more }) => {
    const { item } = await fetchCase(fixture)
    const planned = { ...preparedCase(item), numImagesPerPrompt: 2, imageToImage: true, ...more }
    const { pipeline, before, after } = await load(fixture, planned)
    const { imageToImage, ...options } = planned
    const { width = 0, height = 0 } = options
    const generate = (numInferenceSteps: number) =>
      pipeline.generate(item.prompt, {
        ...caseOptions(item, pipeline.info.scheduler.className),
        ...options,
        numInferenceSteps,
        // Skip-layer guidance runs in the first step too.
        skipLayerGuidanceStart: -1,
        ...(imageToImage ? { image: imageOf(width, height), strength: 1 } : {}),
      })
    await generate(steps)
    expect(after).toEqual([])
    const count = before.length
    expect(count).toBeGreaterThan(30)

    if (lora === undefined) return
    await pipeline.loadLoraWeights(servedAt(`lora/${lora}.safetensors`))
    await generate(1)
    expect(after).toEqual([])
    expect(before.length).toBeGreaterThan(count)
  },
)

test('tiny-sd3 compiles no kernel in its first generation with a LoRA, which is loaded before it', async () => {
  const { item } = await fetchCase('tiny-sd3')
  const { pipeline, before, after } = await load('tiny-sd3', preparedCase(item))
  const count = before.length
  await pipeline.loadLoraWeights(servedAt('lora/peft-sd3.safetensors'))
  await pipeline.generate(item.prompt, caseOptions(item, pipeline.info.scheduler.className))
  expect(after).toEqual([])
  expect(before.length).toBeGreaterThan(count)
})
