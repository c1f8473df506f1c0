import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { knownModels } from './known-models.js'
import { elementCount } from '../../util/element-count.js'

/** Parameters of a published weight table. */
function parameters(table: string): number {
  const { tensors } = JSON.parse(
    readFileSync(new URL(`../../../fixtures/weight-tables/${table}.json`, import.meta.url), 'utf8'),
  ) as {
    tensors: Record<string, readonly number[]>
  }
  return Object.values(tensors).reduce((sum, shape) => sum + elementCount(shape), 0)
}

const xlEncoders = ['sdxl-text-encoder', 'sdxl-text-encoder-2', 'sdxl-vae']

test.each([
  ['stable-diffusion-v1-5/stable-diffusion-v1-5', ['sd15-unet', 'sd15-text-encoder', 'sd15-vae']],
  ['segmind/SSD-1B', ['ssd-1b-unet', ...xlEncoders]],
  ['stabilityai/stable-diffusion-xl-base-1.0', ['sdxl-unet', ...xlEncoders]],
  ['stabilityai/sdxl-turbo', ['sdxl-unet', ...xlEncoders]],
  ['black-forest-labs/FLUX.2-klein-4B', ['flux2-klein-4b-transformer', 'qwen3-4b', 'flux2-vae']],
  ['lodestones/Chroma1-HD', ['chroma-transformer', 't5-xxl-encoder', 'flux-vae']],
  ['Tongyi-MAI/Z-Image-Turbo', ['z-image-transformer', 'qwen3-4b', 'flux-vae']],
])('%s costs what its tables say, at two bytes a parameter', (model, tables) => {
  const bytes = tables.map((table) => 2 * parameters(table))
  const known = knownModels.find((candidate) => candidate.model === model)
  expect(known?.downloadBytes).toBe(bytes.reduce((sum, size) => sum + size, 0))
  expect(known?.largestBytes).toBe(Math.max(...bytes))
})
