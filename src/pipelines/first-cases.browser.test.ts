/**
 * The first case of every fixture on WebGPU, from prompt to image, against the tensors of diffusers. `npm run parity -- --device webgpu` runs
 * all cases, through the public API and its worker.
 */
import { expect, test } from 'vitest'
import type { Repository } from '../hub/types.js'
import { TestSource } from '../runtime/testing.js'
import { loadPipeline } from './diffusion-pipeline.js'
import { caseLoading, caseOptions } from './testing-cases.js'
import { fetchCase, psnr, relativeError, servedRepository } from './testing.js'
import { capturedTensorNames } from './run.js'
import { shareGpuDevices } from '../runtime/webgpu/testing-shared-gpu.js'

shareGpuDevices()

const capture = capturedTensorNames

/** The bundled model, which the test server serves at the same path as the site. */
const bundledFiles = Object.keys(import.meta.glob('../../public/models/aquatint-emoji/**'))
const bundled: Repository = {
  id: 'bundled',
  revision: 'served',
  files: async () => bundledFiles.map((path) => ({ path: path.slice(path.indexOf('emoji/') + 6), size: 0 })),
  open: async (path) => {
    const response = await fetch(`/models/aquatint-emoji/${path}`)
    return new TestSource(new Uint8Array(await response.arrayBuffer()))
  },
}

const repositories: Readonly<Record<string, Repository>> = {
  bundled,
  'tiny-sd15': servedRepository('tiny-sd15', import.meta.glob('../../fixtures/tiny-sd15/repo/**')),
  'tiny-sd21': servedRepository('tiny-sd21', import.meta.glob('../../fixtures/tiny-sd21/repo/**')),
  'tiny-sdxl': servedRepository('tiny-sdxl', import.meta.glob('../../fixtures/tiny-sdxl/repo/**')),
  'tiny-sd3': servedRepository('tiny-sd3', import.meta.glob('../../fixtures/tiny-sd3/repo/**')),
  'tiny-sd35': servedRepository('tiny-sd35', import.meta.glob('../../fixtures/tiny-sd35/repo/**')),
  'few-steps/tiny-vae': servedRepository('few-steps/tiny-vae', import.meta.glob('../../fixtures/few-steps/tiny-vae/repo/**')),
}

test.each(Object.entries(repositories))('%s', async (name, repository) => {
  const { item, reference } = await fetchCase(name)
  const pipeline = await loadPipeline(repository, {
    device: 'webgpu',
    dtype: 'float32',
    offload: 'model',
    ...caseLoading(item),
  })
  const { captured = {} } = await pipeline.generate(item.prompt, {
    ...caseOptions(item, pipeline.info.scheduler.className),
    capture,
  })
  await pipeline.dispose()
  const { image, ...tensors } = Object.fromEntries(Object.entries(reference).filter(([tensor]) => !(tensor in item.extra)))
  // The tolerances of docs/architecture.md for float32.
  expect(Object.keys(tensors).length).toBeGreaterThan(4)
  for (const [tensor, expected] of Object.entries(tensors))
    expect.soft(relativeError(captured[tensor], expected), tensor).toBeLessThanOrEqual(1e-4)
  expect(psnr(captured['image']!, image!)).toBeGreaterThanOrEqual(80)
})
