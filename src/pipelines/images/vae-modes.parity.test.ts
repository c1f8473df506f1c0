/**
 * Compares whole pipelines on the CPU with diffusers' `enable_tiling` and `enable_slicing`: the autoencoder works in tiles or image by
 * image.
 */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { diskRepository, fixtures, readReference, readVaeCases } from '../testing.node.js'
import { psnr, relativeError, vaeCaseOptions } from '../testing.js'

// A case with `tile` has smaller or larger tiles than diffusers' default. Aquatint uses such tiles only if there is too little memory, so
// vae-modes.browser.test.ts runs these cases.
const cases = readVaeCases().filter(({ item }) => item.vae.tile === undefined)

test.each(cases.map(({ item, k }) => [k, item.pipeline, JSON.stringify(item.vae), item] as const))(
  'case %i gives the tensors and the image of diffusers: %s, %s',
  async (k, _, __, item) => {
    const { input_image: input, ...reference } = readReference(join(fixtures, 'vae-tiling', `${k}.safetensors`))
    const pipeline = await loadPipeline(diskRepository(join(fixtures, item.fixture, 'repo')), {
      device: 'wasm',
      vaeTiling: item.vae.tiling === true ? true : undefined,
    })
    try {
      const { captured = {}, images } = await pipeline.generate(item.prompt, vaeCaseOptions(item, input))
      for (const [name, expected] of Object.entries(reference))
        expect.soft(relativeError(captured[name], expected), name).toBeLessThan(1e-4)
      expect(psnr(captured['image']!, reference['image']!)).toBeGreaterThan(90)
      expect(images.map(({ width, height }) => [width, height])).toEqual(
        Array.from({ length: item.num_images_per_prompt }, () => [item.width, item.height]),
      )
    } finally {
      await pipeline.dispose()
    }
  },
)
