/** A GPU device is lost between two networks, together with the tensors that one computed for the other. They are computed again, and the image is the same. */
import { afterEach, expect, test, vi } from 'vitest'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, servedRepository } from '../testing.js'
import type { PipelineProgress } from '../types.js'

const repository = servedRepository('tiny-sdxl', import.meta.glob('../../../fixtures/tiny-sdxl/repo/**'))

let pipeline: LoadedPipeline | undefined
afterEach(async () => {
  vi.restoreAllMocks()
  await pipeline?.dispose()
  pipeline = undefined
})

/** Whether to lose the device at this moment. */
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
  pipeline = await loadPipeline(repository, { device: 'webgpu', offload: 'model' })
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
    expect(again.warnings, what).toEqual([expect.stringContaining('opened a new one')])
    expect(told, what).toEqual([0, 1])
  }
  now.mockRestore()
  expect(requested).toHaveBeenCalledTimes(1 + moments.length)
})

/** GPUBufferUsage.STORAGE */
const storage = 0x80

test('a denoising loop resumes from its last checkpoint rather than from its beginning, counted by the timesteps that the denoiser gets', async () => {
  const requested = vi.spyOn(GPUAdapter.prototype, 'requestDevice')
  const writeBuffer = vi.spyOn(GPUQueue.prototype, 'writeBuffer')
  const createBuffer = vi.spyOn(GPUDevice.prototype, 'createBuffer')
  pipeline = await loadPipeline(repository, { device: 'webgpu', offload: 'resident' })
  const { item } = await fetchCase('tiny-sdxl')
  const steps = 10
  // The projection of a timestep for both halves of guidance: the only data of this size but weights, whose buffers have a label.
  const timestep = 2 * 16 * 4
  const runs = () => {
    const written = writeBuffer.mock.calls
      .filter(([{ usage, label }]) => (usage & storage) !== 0 && label === '')
      .map(([, , data, , size]) => size ?? data.byteLength)
    const mapped = createBuffer.mock.calls.filter(([{ mappedAtCreation }]) => mappedAtCreation === true).map(([{ size }]) => size)
    for (const mock of [writeBuffer, createBuffer]) mock.mockClear()
    return [...written, ...mapped].filter((size) => size === timestep).length
  }
  // On this clock each step's checkpoint is due.
  let clock = 0
  vi.spyOn(performance, 'now').mockImplementation(() => (clock += 2500))
  const generate = async (lostAt?: number) => {
    const told: number[] = []
    const { images, warnings } = await pipeline!.generate(item.prompt, {
      ...caseOptions(item, ''),
      numInferenceSteps: steps,
      onStep: ({ step }) => {
        told.push(step)
        const last = requested.mock.settledResults.at(-1)
        if (step === lostAt && last?.type === 'fulfilled') last.value.destroy()
      },
    })
    expect(told).toEqual(Array.from({ length: steps }, (_, step) => step))
    return { images, warnings: warnings.length, runs: runs() }
  }
  const plain = await generate()
  expect(plain).toMatchObject({ runs: steps, warnings: 0 })
  const lostAt = 7
  const again = await generate(lostAt)
  expect(again).toMatchObject({ images: plain.images, warnings: 1 })
  // The step just reported, the two under way, and up to two more: while a checkpoint is copied no other one is made. From its beginning it
  // would be all ten.
  expect(again.runs - steps).toBeLessThanOrEqual(5)
})
