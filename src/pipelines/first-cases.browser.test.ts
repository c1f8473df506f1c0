/**
 * Runs one case of each fixture below on WebGPU, from prompt to image, and compares the tensors and the image with those of diffusers. `npm
 * run parity -- --device webgpu` runs all cases, through the public API and its worker. A run without reference images must also stay
 * within its planned memory. If the GPU has float16, the errors in float16 are compared with those of PyTorch in float16.
 */
import { expect, test } from 'vitest'
import float16Images from '../../fixtures/float16-images.json' with { type: 'json' }
import float16 from '../../fixtures/float16.json' with { type: 'json' }
import type { Repository } from '../hub/types.js'
import { TestSource } from '../runtime/testing.js'
import { planLoad } from './diffusion-pipeline.js'
import { families } from './families.js'
import { createPipeline } from './generation/loaded-pipeline.js'
import { openPipeline } from './loading/open-pipeline.js'
import { caseLoading, caseOptions } from './testing-cases.js'
import { preparedCase } from './testing-preparation.js'
import { asPixels, fetchCase, fetchReference, psnr, relativeError, rms, servedRepository } from './testing.js'
import { capturedTensorNames } from './run.js'
import type { CapturedTensors, PlainTensor } from './types.js'
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

const klein = servedRepository('tiny-flux2-klein', import.meta.glob('../../fixtures/tiny-flux2-klein/repo/**'))

/** The repositories, by fixture. Names that end in `edit` stand for runs with reference images. */
const repositories: Readonly<Record<string, Repository>> = {
  bundled,
  'tiny-sd15': servedRepository('tiny-sd15', import.meta.glob('../../fixtures/tiny-sd15/repo/**')),
  'tiny-sd21': servedRepository('tiny-sd21', import.meta.glob('../../fixtures/tiny-sd21/repo/**')),
  'tiny-sdxl': servedRepository('tiny-sdxl', import.meta.glob('../../fixtures/tiny-sdxl/repo/**')),
  'tiny-sd3': servedRepository('tiny-sd3', import.meta.glob('../../fixtures/tiny-sd3/repo/**')),
  'tiny-sd35': servedRepository('tiny-sd35', import.meta.glob('../../fixtures/tiny-sd35/repo/**')),
  'tiny-flux2-klein': klein,
  'tiny-flux2-klein edit': klein,
  'tiny-z-image': servedRepository('tiny-z-image', import.meta.glob('../../fixtures/tiny-z-image/repo/**')),
  'tiny-flux': servedRepository('tiny-flux', import.meta.glob('../../fixtures/tiny-flux/repo/**')),
  'tiny-chroma': servedRepository('tiny-chroma', import.meta.glob('../../fixtures/tiny-chroma/repo/**')),
  'few-steps/tiny-vae': servedRepository('few-steps/tiny-vae', import.meta.glob('../../fixtures/few-steps/tiny-vae/repo/**')),
}

/** More fixtures, which run here in float16 only: the Node tests run them in float32, with graphs of the same classes. */
const float16Repositories: Readonly<Record<string, Repository>> = {
  ...repositories,
  'tiny-flux2-klein-base': servedRepository(
    'tiny-flux2-klein-base',
    import.meta.glob('../../fixtures/tiny-flux2-klein-base/repo/**'),
  ),
  'few-steps/edm': servedRepository('few-steps/edm', import.meta.glob('../../fixtures/few-steps/edm/repo/**')),
  'few-steps/flux-schnell': servedRepository(
    'few-steps/flux-schnell',
    import.meta.glob('../../fixtures/few-steps/flux-schnell/repo/**'),
  ),
  'few-steps/lcm': servedRepository('few-steps/lcm', import.meta.glob('../../fixtures/few-steps/lcm/repo/**')),
  'few-steps/sd35-large': servedRepository(
    'few-steps/sd35-large',
    import.meta.glob('../../fixtures/few-steps/sd35-large/repo/**'),
  ),
}

/** The tensors of a fixture's case and those of diffusers; undefined if this browser's GPU does not compute in the type. */
async function runCase(name: string, repository: Repository, dtype: 'float32' | 'float16', number = 0) {
  const [fixture = name, edit] = name.split(' ')
  const { item, reference } = await fetchCase(fixture, number, edit === 'edit' ? edit : undefined)
  const pictures = Object.entries(reference).filter(([tensor]) => tensor.startsWith('input_image_'))
  const loading = { device: 'webgpu', dtype, offload: 'model', ...caseLoading(item) } as const
  const { numImagesPerPrompt } = caseOptions(item, '')
  // FLUX.1 is planned for one pixel more, which the plan rounds down as a generation does.
  const asked = name === 'tiny-flux' ? { ...item, width: item.width + 1 } : item
  const { devices } = await planLoad(repository, { ...loading, ...preparedCase(asked), numImagesPerPrompt })
  const opened = await openPipeline(repository, loading, families)
  const pipeline = createPipeline(opened)
  try {
    if (dtype === 'float16' && !Object.values(pipeline.info.devices).every(({ shaderF16 }) => shaderF16)) return undefined
    const options = caseOptions(item, pipeline.info.scheduler.className)
    const image = pictures.length === 0 ? {} : { image: pictures.map(([, picture]) => asPixels(picture)) }
    const { captured = {} } = await pipeline.generate(item.prompt, { ...options, ...image, capture })
    const isResult = (tensor: string) => !(tensor in item.extra) && !tensor.startsWith('input_image_')
    const { image: made, ...tensors } = Object.fromEntries(Object.entries(reference).filter(([tensor]) => isResult(tensor)))
    // The plan above does not include reference images.
    if (pictures.length === 0) expect(opened.hosts.memory.peak).toBeLessThanOrEqual(devices.webgpu!.peakBytes)
    expect(pipeline.info.devices.webgpu!.kernels.unrecognized).toEqual([])
    return { captured, tensors, psnr: psnr(captured['image']!, made!) }
  } finally {
    await pipeline.dispose()
  }
}

// The Node tests compare the bundled model in float32, with the same graphs.
test.each(Object.entries(repositories).filter(([name]) => name !== 'bundled'))(
  '%s gives the tensors and the image of diffusers on the GPU',
  async (name, repository) => {
    const run = await runCase(name, repository, 'float32')
    // The tolerances of docs/architecture.md for float32.
    expect(Object.keys(run?.tensors ?? {}).length).toBeGreaterThan(4)
    for (const [tensor, expected] of Object.entries(run?.tensors ?? {}))
      expect.soft(relativeError(run?.captured[tensor], expected), tensor).toBeLessThanOrEqual(1e-4)
    expect(run?.psnr).toBeGreaterThanOrEqual(80)
  },
)

interface OwnError {
  readonly case: number
  readonly rms: Readonly<Record<string, number>>
  readonly psnr: number
}

const diffusers: Readonly<Record<string, OwnError>> = float16

test.for(Object.entries(diffusers))('%s in float16 has at most 1.5 times the error of PyTorch', async ([name, own], { skip }) => {
  const run = await runCase(name, float16Repositories[name]!, 'float16', own.case)
  if (run === undefined) return skip('This GPU has no shader-f16.')
  for (const [tensor, most] of Object.entries(own.rms))
    expect.soft(rms(run.captured[tensor], run.tensors[tensor]!), tensor).toBeLessThanOrEqual(1.5 * most)
  expect(run.psnr).toBeGreaterThanOrEqual(own.psnr - 2)
})

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value / values.length, 0)

/**
 * Each of the six steps enlarges rounding errors tenfold, so the errors of one run say little. With 32 seeds, the error after the last step
 * was 0.4 to 2.9 times PyTorch's (geometric mean 1.03, standard deviation of the logarithm 0.5). With another attention processor,
 * PyTorch's own error was 0.3 to 3.9 times as large (geometric mean 0.96). The test compares the geometric mean over 16 images with the
 * limit 1.5. After the last step, this limit is 3 standard deviations of that mean above 1; after the first step, 5.
 */
test('few-steps/edm in float16, where errors grow from step to step: 16 images on average', async ({ skip }) => {
  const { item } = await fetchCase(float16Images.fixture, float16Images.case)
  const expected = await fetchReference('float16-images.safetensors')
  const opened = await openPipeline(
    float16Repositories[float16Images.fixture]!,
    { device: 'webgpu', dtype: 'float16', offload: 'model' },
    families,
  )
  const pipeline = createPipeline(opened)
  try {
    if (!Object.values(pipeline.info.devices).every(({ shaderF16 }) => shaderF16)) return skip('This GPU has no shader-f16.')
    const { images } = float16Images
    const { captured = {} } = await pipeline.generate(item.prompt, {
      ...caseOptions(item, pipeline.info.scheduler.className),
      numImagesPerPrompt: images.length,
      capture: ['noise_pred', 'latents', 'image'],
    })
    const one = (tensors: CapturedTensors, name: string, index: number) => everyRow(tensors[name]!, index, images.length)
    for (const name of Object.keys(images[0]!.rms)) {
      const ratios = images.map((own, k) => {
        const error: number = { ...own.rms }[name as keyof typeof own.rms]
        return rms(one(captured, name, k), one(expected, name, k)) / error
      })
      // Errors multiply, so their mean is the geometric one.
      expect.soft(Math.exp(mean(ratios.map(Math.log))), name).toBeLessThanOrEqual(1.5)
    }
    const decibels = images.map((own, k) => psnr(one(captured, 'image', k), one(expected, 'image', k)) - own.psnr)
    expect(mean(decibels)).toBeGreaterThanOrEqual(-20 * Math.log10(1.5))
  } finally {
    await pipeline.dispose()
  }
})

/** The rows `first`, `first + step` and so on of a tensor, along its first axis. */
function everyRow({ dims: [rows = 0, ...rest], data }: PlainTensor, first: number, step: number): PlainTensor {
  const size = data.length / rows
  const chosen = data.filter((_, index) => Math.floor(index / size) % step === first)
  return { dims: [chosen.length / size, ...rest], data: chosen }
}
