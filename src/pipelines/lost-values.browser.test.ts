/** A GPU that goes away between two networks takes along what one had left for the other: it is made again, and the image is the same. */
import { afterEach, expect, test, vi } from 'vitest'
import { DiffusionPipeline, type LoadedPipeline } from './diffusion-pipeline.js'
import { caseOptions } from './testing-cases.js'
import { fetchCase, servedRepository } from './testing.js'
import type { PipelineProgress } from './types.js'

// A software adapter compiles the kernels of four networks anew for each device.
vi.setConfig({ testTimeout: 600_000 })

const repository = servedRepository('tiny-sdxl', import.meta.glob('../../fixtures/tiny-sdxl/repo/**'))

let pipeline: LoadedPipeline | undefined
afterEach(async () => {
  vi.restoreAllMocks()
  await pipeline?.dispose()
  pipeline = undefined
})

/** Whether this is the moment at which a device is to go. */
type Moment = (progress: PipelineProgress) => boolean

const moments: readonly (readonly [string, Moment])[] = [
  [
    'the first text encoder’s output, with the second under way',
    (progress) => progress.type === 'weights' && progress.component === 'text_encoder_2',
  ],
  [
    'the prompt’s condition, with the denoiser under way',
    (progress) => progress.type === 'weights' && progress.component === 'unet',
  ],
  ['the latents, with the decoder under way', (progress) => progress.type === 'weights' && progress.component === 'vae'],
]

test('a generation that loses its device has the image of one that does not', async () => {
  const requested = vi.spyOn(GPUAdapter.prototype, 'requestDevice')
  pipeline = await DiffusionPipeline.fromPretrained(repository, { device: 'webgpu', offload: 'model' })
  const { item } = await fetchCase('tiny-sdxl')
  const options = { ...caseOptions(item, ''), numInferenceSteps: 2 }
  const plain = await pipeline.generate(item.prompt, options)
  // A second loss within two minutes is refused: the clock jumps before each.
  let clock = performance.now()
  const now = vi.spyOn(performance, 'now').mockImplementation(() => clock)
  for (const [what, isDue] of moments) {
    clock += 200_000
    let due = true
    const told: number[] = []
    const again = await pipeline.generate(item.prompt, {
      ...options,
      onProgress: (progress) => {
        if (!due || !isDue(progress)) return
        due = false
        const last = requested.mock.settledResults.at(-1)
        if (last?.type === 'fulfilled') last.value.destroy()
      },
      onStep: ({ step }) => told.push(step),
    })
    expect(due, what).toBe(false)
    expect(again.images, what).toEqual(plain.images)
    expect(again.warnings, what).toEqual([expect.stringContaining('opened anew')])
    expect(told, what).toEqual([0, 1])
  }
  now.mockRestore()
  expect(requested).toHaveBeenCalledTimes(1 + moments.length)
})
