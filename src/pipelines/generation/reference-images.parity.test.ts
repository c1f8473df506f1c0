/** Compares FLUX.2-klein with reference images on the CPU with diffusers, tensor by tensor (fixtures/tiny-flux2-klein*, edit.json). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { resizeLanczos } from '../images/lanczos-resize.js'
import { referenceImages } from '../images/reference-images.js'
import { capturedTensorNames } from '../run.js'
import { diskRepository, fixtures, readReference } from '../testing.node.js'
import { caseOptions, type FixtureCase } from '../testing-cases.js'
import { asPixels, psnr, relativeError } from '../testing.js'
import type { GenerateOptions } from '../types.js'

const folders = ['tiny-flux2-klein', 'tiny-flux2-klein-base']
const edits = folders.flatMap((name) => {
  const cases = JSON.parse(readFileSync(join(fixtures, name, 'edit.json'), 'utf8')) as FixtureCase[]
  return cases.map((item, k) => [`${name} ${k}`, name, item, k] as const)
})
const load = (name: string) => loadPipeline(diskRepository(join(fixtures, name, 'repo')), { device: 'wasm' })

const isInput = (key: string) => key.startsWith('input_image')

test.each(edits)('%s gives the tensors and the image of diffusers', async (_, name, item, k) => {
  const all = readReference(join(fixtures, name, `edit-${k}.safetensors`))
  const pictures = Object.keys(all).filter(isInput).toSorted()
  const images = pictures.map((key) => asPixels(all[key]!))
  const pipeline = await load(name)
  expect(pipeline.info.takesReferences).toBe(true)
  const { references: _sizes, ...options } = caseOptions(item, pipeline.info.scheduler.className) as GenerateOptions & {
    references: unknown
  }
  // One reference image alone, or a list.
  const image = images.length === 1 ? images[0] : images
  const { captured = {} } = await pipeline.generate(item.prompt, { ...options, image, capture: capturedTensorNames })
  await pipeline.dispose()
  for (const [tensor, expected] of Object.entries(all))
    if (!isInput(tensor)) expect.soft(relativeError(captured[tensor], expected), tensor).toBeLessThan(1e-4)
  expect(psnr(captured['image']!, all['image']!)).toBeGreaterThan(90)
})

const blank = (width: number, height: number) => ({ width, height, data: new Uint8ClampedArray(width * height * 4) })

test('the result has the size of the first reference image, in whole patches; a warning says that the pipeline does not use the negative prompt', async () => {
  const pipeline = await load('tiny-flux2-klein')
  expect(pipeline.info.takesNegativePrompt).toBe(false)
  const { images, warnings } = await pipeline.generate('a dog', {
    image: [blank(66, 71), blank(80, 80)],
    negativePrompt: 'blurry',
    numInferenceSteps: 1,
    maxSequenceLength: 32,
  })
  expect(images[0]).toMatchObject({ width: 64, height: 68 })
  expect(warnings).toEqual(['Flux2KleinPipeline has no negative prompt; the one that is given is not used.'])
  await pipeline.dispose()
})

test('images that diffusers refuses are refused, and so is a list for a pipeline that starts from one image', async () => {
  const pipeline = await load('tiny-flux2-klein')
  for (const image of [blank(63, 200), [blank(64, 64), blank(64, 513)], { ...blank(64, 64), width: 65 }])
    await expect(pipeline.generate('a dog', { image })).rejects.toMatchObject({ code: 'image' })
  await pipeline.dispose()
  const other = await load('tiny-sd15')
  await expect(other.generate('a dog', { image: [blank(64, 64)] })).rejects.toMatchObject({ code: 'image' })
  await other.dispose()
})

test('large images are made smaller as PIL does it', () => {
  const { from, to } = JSON.parse(readFileSync(join(fixtures, 'tiny-flux2-klein', 'resize.json'), 'utf8')) as Record<
    string,
    Picture
  >
  const image = { ...from!, data: Uint8ClampedArray.from(from!.bytes) }
  // Half of the image is partly transparent: each pixel counts in proportion to its opacity.
  expect([...resizeLanczos(image, to!.width, to!.height).data]).toEqual(to!.bytes)
  const [large] = referenceImages(blank(1100, 1000), 16)
  expect([large!.width, large!.height]).toEqual([1072, 976])
})

interface Picture {
  readonly width: number
  readonly height: number
  readonly bytes: readonly number[]
}
