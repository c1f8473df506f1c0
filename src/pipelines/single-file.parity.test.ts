/** A checkpoint in one file makes the picture that diffusers made from the same weights in folders. */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { componentFileOf, singleFileOf } from '../checkpoint/layouts/single-file/testing.node.js'
import { memoryRepository } from '../checkpoint/testing.js'
import { loadPipeline, planLoad } from './diffusion-pipeline.js'
import { caseLoading, caseOptions } from './testing-cases.js'
import { diskRepository, fixtures, readCases } from './testing.node.js'
import { psnr } from './testing.js'

test.each([
  ['tiny-sd15', singleFileOf],
  ['tiny-sd21', singleFileOf],
  ['tiny-sdxl', singleFileOf],
  // The published files of FLUX.1 hold the transformer alone; the other components come from the repository with the configs.
  ['tiny-flux', (fixture: string) => componentFileOf(fixture, 'transformer')],
])('%s in one file gives the image of diffusers', async (fixture, fileOf) => {
  const [first] = readCases(fixture)
  if (first === undefined) throw new Error(`${fixture} has no case.`)
  const { item, reference } = first
  const repository = memoryRepository({ 'model.safetensors': await fileOf(fixture) })
  const source = {
    singleFile: { repository, path: 'model.safetensors' },
    config: diskRepository(join(fixtures, fixture, 'repo')),
  }
  const plan = await planLoad(source, { device: 'wasm', ...caseLoading(item) })
  expect(plan).toMatchObject({ className: item.pipeline, repo: 'memory' })
  const pipeline = await loadPipeline(source, { device: 'wasm', ...caseLoading(item) })
  const { captured } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, pipeline.info.scheduler.className),
    capture: ['image'],
  })
  const [image, expected] = [captured?.['image'], reference['image']]
  if (image === undefined || expected === undefined) throw new Error('There is no image.')
  // diffusion-pipeline.parity.test.ts requires the same PSNR when the components are loaded from folders.
  expect(psnr(image, expected)).toBeGreaterThan(90)
  await pipeline.dispose()
})
