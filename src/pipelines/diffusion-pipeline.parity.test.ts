/** Compares whole pipelines on the CPU with diffusers, tensor by tensor (fixtures/tiny-*). `npm run parity` does the same in Chromium and on WebGPU. */

import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadPipeline, type LoadedPipeline } from './diffusion-pipeline.js'
import { diskRepository, fixtures, readCases } from './testing.node.js'
import { caseLoading, caseOptions, type FixtureCase } from './testing-cases.js'
import { psnr, relativeError } from './testing.js'
import { capturedTensorNames } from './run.js'

const capture = capturedTensorNames

/**
 * Relative to the reference's largest magnitude. Both sides compute in float32, whose epsilon is 1.2e-7: a hundred layers in
 * sequence, run up to six times, have an error of up to 2e-5.
 */
const tolerance = 1e-4

function title(item: FixtureCase): string {
  return `${item.scheduler ?? 'own scheduler'} ${JSON.stringify(item.extra)} seed ${item.seed}`
}

const names = [
  'tiny-sd15',
  'tiny-sd21',
  'tiny-sdxl',
  'tiny-sd3',
  'tiny-sd35',
  'tiny-flux',
  'tiny-z-image',
  'tiny-chroma',
  'few-steps/flux-schnell',
  'tiny-flux2-klein',
  'tiny-flux2-klein-base',
  'few-steps/lcm',
  'few-steps/tiny-vae',
  'few-steps/edm',
  'few-steps/sd35-large',
]

for (const name of names) {
  describe(name, () => {
    const loaded = new Map<string, Promise<LoadedPipeline>>()
    const load = (item: FixtureCase) => {
      const loading = caseLoading(item)
      const key = JSON.stringify(loading)
      const pipeline =
        loaded.get(key) ?? loadPipeline(diskRepository(join(fixtures, name, 'repo')), { device: 'wasm', ...loading })
      loaded.set(key, pipeline)
      return pipeline
    }
    afterAll(async () => {
      for (const pipeline of loaded.values()) await (await pipeline).dispose()
    })

    test.each(readCases(name).map(({ item, reference }, k) => [k, title(item), item, reference] as const))(
      'case %i gives the tensors and the image of diffusers: %s',
      async (k, _, item, reference) => {
        const pipeline = await load(item)
        expect(pipeline.info.className).toBe(item.pipeline)
        const {
          captured = {},
          images,
          seed,
        } = await pipeline.generate(item.prompt, {
          ...caseOptions(item, pipeline.info.scheduler.className),
          capture,
        })
        expect(seed).toBe(item.seed)
        for (const [tensor, expected] of Object.entries(reference)) {
          expect.soft(relativeError(captured[tensor], expected), tensor).toBeLessThan(tolerance)
        }
        const { image } = reference
        const ratio = psnr(captured['image']!, image!)
        expect(ratio).toBeGreaterThan(90)
        expect(images).toHaveLength(image!.dims[0]!)
        expect(images[0]).toMatchObject({ width: item.width, height: item.height })
        expect(images[0]!.data[0]).toBe(Math.round(captured['image']!.data[0]! * 255))
      },
    )
  })
}
