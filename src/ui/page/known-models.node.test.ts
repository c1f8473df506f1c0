import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { knownModels } from './known-models.js'
import type { Config } from '../../checkpoint/types.js'
import { families } from '../../pipelines/families.js'
import { elementCount } from '../../util/element-count.js'

/** The number of parameters in a published weight table that a pipeline class downloads. */
function parameters(table: string, pipeline: string): number {
  const {
    tensors,
    config,
    _class_name: className,
  } = JSON.parse(readFileSync(new URL(`../../../fixtures/weight-tables/${table}.json`, import.meta.url), 'utf8')) as {
    tensors: Record<string, readonly number[]>
    config: Config
    _class_name: string
  }
  const definitions = Object.values(families.find((family) => family.className === pipeline)?.networks ?? {}).flat()
  const model = definitions.find((definition) => definition.className === className)?.fromConfig(config)
  if (model === undefined) throw new TypeError(`${pipeline} has no ${className}.`)
  const patterns = model.weights.skipped?.patterns ?? []
  const used = Object.entries(tensors).filter(([name]) => !patterns.some((pattern) => pattern.test(name)))
  return used.reduce((sum, [, shape]) => sum + elementCount(shape), 0)
}

const xlEncoders = ['sdxl-text-encoder', 'sdxl-text-encoder-2', 'sdxl-vae']

/**
 * Tables whose tensors are published in float32: the shards of Z-Image-Turbo's transformer have 24.62 GB. All other tables have two bytes
 * per parameter.
 */
const inFloat32 = new Set(['z-image-transformer'])

test.each([
  ['stable-diffusion-v1-5/stable-diffusion-v1-5', 'StableDiffusionPipeline', ['sd15-unet', 'sd15-text-encoder', 'sd15-vae']],
  ['segmind/SSD-1B', 'StableDiffusionXLPipeline', ['ssd-1b-unet', ...xlEncoders]],
  ['stabilityai/stable-diffusion-xl-base-1.0', 'StableDiffusionXLPipeline', ['sdxl-unet', ...xlEncoders]],
  ['stabilityai/sdxl-turbo', 'StableDiffusionXLPipeline', ['sdxl-unet', ...xlEncoders]],
  ['black-forest-labs/FLUX.2-klein-4B', 'Flux2KleinPipeline', ['flux2-klein-4b-transformer', 'qwen3-4b', 'flux2-vae']],
  ['lodestones/Chroma1-HD', 'ChromaPipeline', ['chroma-transformer', 't5-xxl-encoder', 'flux-vae']],
  ['Tongyi-MAI/Z-Image-Turbo', 'ZImagePipeline', ['z-image-transformer', 'qwen3-4b', 'flux-vae']],
])('the download and the largest component of %s are those of its weight tables', (model, pipeline, tables) => {
  const counts = tables.map((table) => parameters(table, pipeline))
  const bytes = counts.map((count, index) => count * (inFloat32.has(tables[index]!) ? 4 : 2))
  const known = knownModels.find((candidate) => candidate.model === model)
  expect(known?.downloadBytes).toBe(bytes.reduce((sum, size) => sum + size, 0))
  expect(known?.largestBytes).toBe(2 * Math.max(...counts))
})
