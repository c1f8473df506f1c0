/** A GPU device is lost between two networks, together with the tensors that one computed for the other. They are computed again, and the image is the same. */
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { loadPipeline, type LoadedPipeline } from '../diffusion-pipeline.js'
import { replaceMethod } from '../../runtime/webgpu/testing-gpu.js'
import { Checkpoints } from '../generation/checkpoints.js'
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
    const reported: number[] = []
    const again = await pipeline.generate(item.prompt, {
      ...options,
      onProgress: (progress) => {
        if (!due || !isDue(progress)) return
        due = false
        const last = requested.mock.settledResults.at(-1)
        if (last?.type === 'fulfilled') last.value.destroy()
      },
      onStep: ({ step }) => reported.push(step),
    })
    expect(due, what).toBe(false)
    expect(again.images, what).toEqual(plain.images)
    expect(again.warnings, what).toEqual([expect.stringContaining('opened a new one')])
    expect(reported, what).toEqual([0, 1])
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
  const [steps, savedBefore] = [6, 3]
  // The projection of a timestep for both halves of guidance: the only data of this size but weights, whose buffers have a label.
  const timestep = 2 * 16 * 4
  const runsOn = (gpu: GPUDevice) => {
    const written = writeBuffer.mock.calls
      .filter(
        ([{ usage, label }], call) => writeBuffer.mock.contexts[call] === gpu.queue && (usage & storage) !== 0 && label === '',
      )
      .map(([, , data, , size]) => size ?? data.byteLength)
    const mapped = createBuffer.mock.calls
      .filter(([{ mappedAtCreation }], call) => createBuffer.mock.contexts[call] === gpu && mappedAtCreation === true)
      .map(([{ size }]) => size)
    for (const mock of [writeBuffer, createBuffer]) mock.mockClear()
    return [...written, ...mapped].filter((size) => size === timestep).length
  }
  const lastDevice = () => {
    const last = requested.mock.settledResults.at(-1)
    if (last?.type !== 'fulfilled') throw new Error('No device was opened')
    return last.value
  }
  const generate = async (onStep: (step: number) => void = () => {}) => {
    const reported: number[] = []
    const { images, warnings } = await pipeline!.generate(item.prompt, {
      ...caseOptions(item, ''),
      numInferenceSteps: steps,
      onStep: ({ step }) => {
        reported.push(step)
        onStep(step)
      },
    })
    expect(reported).toEqual(Array.from({ length: steps }, (_, step) => step))
    return { images, warnings: warnings.length, runs: runsOn(lastDevice()) }
  }
  // On this clock the checkpoint before one step is due, and no other.
  let clock = 0
  vi.spyOn(performance, 'now').mockImplementation(() => clock)
  let lastCheckpoint: (() => number) | undefined
  const end = replaceMethod(
    Checkpoints.prototype,
    'save',
    (save) =>
      function (this: Checkpoints, index, ...state) {
        lastCheckpoint = () => this.last.index
        if (index === savedBefore) clock += 2500
        save.call(this, index, ...state)
      },
  )
  onTestFinished(end)
  const plain = await generate()
  expect(plain).toMatchObject({ runs: steps, warnings: 0 })
  let lost: GPUDevice | undefined
  const again = await generate(() => {
    if (lastCheckpoint?.() !== savedBefore || lost !== undefined) return
    lost = lastDevice()
    lost.destroy()
  })
  expect(again).toEqual({ images: plain.images, warnings: 1, runs: steps - savedBefore })
  expect(lastDevice()).not.toBe(lost)
})
