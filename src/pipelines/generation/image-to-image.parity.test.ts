/** Compares image to image on the CPU with diffusers' img2img pipelines, tensor by tensor (fixtures/image-to-image). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { diskRepository, fixtures, readReference } from '../testing.node.js'
import { asPixels, psnr, relativeError } from '../testing.js'
import type { GenerateOptions } from '../types.js'
import { normalizeImage } from '../images/image-processor.js'
import { checkImage } from '../check-inputs.js'

interface Case {
  fixture: string
  prompt: string
  negative_prompt: string
  seed: number
  num_inference_steps: number
  guidance_scale: number
  scheduler: string | null
  extra: Record<string, unknown>
}
const folder = join(fixtures, 'image-to-image')
const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as Case[]
const camelCase = (key: string) => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

test.each(
  cases.map((item, k) => [k, item.fixture, item.scheduler ?? 'own scheduler', JSON.stringify(item.extra), item] as const),
)('case %i gives the tensors and the image of diffusers: %s, %s %s', async (k, fixture, _, __, item) => {
  const { input_image: input, ...reference } = readReference(join(folder, `${k}.safetensors`))
  const pipeline = await loadPipeline(diskRepository(join(fixtures, fixture, 'repo')), { device: 'wasm' })
  try {
    const { captured = {}, images } = await pipeline.generate(item.prompt, {
      ...Object.fromEntries(Object.entries(item.extra).map(([key, value]) => [camelCase(key), value])),
      image: asPixels(input!),
      negativePrompt: item.negative_prompt,
      seed: item.seed,
      numInferenceSteps: item.num_inference_steps,
      guidanceScale: item.guidance_scale,
      ...(item.scheduler === null ? {} : { scheduler: { className: item.scheduler } }),
      capture: ['initial_latents', 'latents', 'image'],
    })
    for (const [name, expected] of Object.entries(reference))
      expect.soft(relativeError(captured[name], expected), name).toBeLessThan(1e-4)
    expect(Object.keys(captured).toSorted()).toEqual(Object.keys(reference).toSorted())
    expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(90)
    expect(images[0]).toMatchObject({ width: input!.dims[1]!, height: input!.dims[0]! })
  } finally {
    await pipeline.dispose()
  }
})

test('LatentConsistencyModelPipeline refuses to start from an image', async () => {
  const pipeline = await loadPipeline(diskRepository(join(fixtures, 'few-steps', 'lcm', 'repo')), { device: 'wasm' })
  const image = { width: 16, height: 16, data: new Uint8ClampedArray(16 * 16 * 4) }
  await expect(pipeline.generate('a dog', { image })).rejects.toMatchObject({
    code: 'unsupported-config',
    details: { key: 'image' },
  })
  await pipeline.dispose()
})

test('invalid images and strengths are refused before anything runs', async () => {
  const pipeline = await loadPipeline(diskRepository(join(fixtures, 'tiny-sd15', 'repo')), { device: 'wasm' })
  const image = { width: 32, height: 32, data: new Uint8ClampedArray(32 * 32 * 4) }
  expect(pipeline.info).toMatchObject({ imageToImage: true, memoryBudget: undefined })
  const wrong: [string, GenerateOptions][] = [
    ['image', { image: { ...image, width: 33 } }],
    ['image', { image: { ...image, data: new Uint8ClampedArray(3) } }],
    ['size', { image, width: 64 }],
    ['strength', { image, strength: 0, scheduler: { className: 'DDIMScheduler' } }],
    ['strength', { image, strength: -0.1 }],
    ['strength', { image, strength: 1.5 }],
    ['strength', { image, strength: Number.NaN }],
    ['strength', { image, strength: 0.2, numInferenceSteps: 4, scheduler: { className: 'DDIMScheduler' } }],
    ['unsupported-config', { image, scheduler: { className: 'IPNDMScheduler' } }],
  ]
  for (const [code, options] of wrong) await expect(pipeline.generate('a dog', options)).rejects.toMatchObject({ code })
  await pipeline.dispose()
})

test('an image is converted as diffusers does', () => {
  const image = { width: 8, height: 8, data: Uint8ClampedArray.from({ length: 256 }, (_, i) => i) }
  expect(() => checkImage(image, 8, 64)).not.toThrow()
  const { dims, data } = normalizeImage(image)
  expect(dims).toEqual([1, 3, 8, 8])
  expect([data[0], data[64], data[128]]).toEqual([0, 1, 2].map((value) => Math.fround(2 * Math.fround(value / 255) - 1)))
})

test('from an image, Stable Diffusion 3 has 50 steps and FLUX.1 a guidance scale of 7, as in diffusers’ classes for that', async () => {
  const image = asPixels(readReference(join(folder, '8.safetensors'))['input_image']!)
  const call = { image, strength: 0.02, seed: 0, maxSequenceLength: 24, capture: ['timesteps', 'latents'] } as const
  const sd3 = await loadPipeline(diskRepository(join(fixtures, 'tiny-sd3', 'repo')), { device: 'wasm' })
  expect((await sd3.generate('a dog', call)).captured?.['timesteps']?.dims).toEqual([50])
  await sd3.dispose()
  const flux = await loadPipeline(diskRepository(join(fixtures, 'tiny-flux', 'repo')), { device: 'wasm' })
  expect(flux.info.defaults).toMatchObject({ guidanceScale: 3.5, fromImage: { numInferenceSteps: 28, guidanceScale: 7 } })
  const [usual, seven, other] = [undefined, 7, 3.5].map((guidanceScale) => flux.generate('a dog', { ...call, guidanceScale }))
  expect((await usual!).captured).toEqual((await seven!).captured)
  expect((await usual!).captured).not.toEqual((await other!).captured)
  await flux.dispose()
})
