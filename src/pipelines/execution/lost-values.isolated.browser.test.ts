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

/** GPUBufferUsage.STORAGE */
const storage = 0x80

/** Returns a function that counts the timesteps that were uploaded for the denoiser on a device since its last call. */
function watchTimesteps(): (gpu: GPUDevice) => number {
  const writeBuffer = vi.spyOn(GPUQueue.prototype, 'writeBuffer')
  const createBuffer = vi.spyOn(GPUDevice.prototype, 'createBuffer')
  // The projection of a timestep for both halves of guidance. Besides it, only weights are uploaded in this size, and their buffers have a
  // label.
  const timestep = 2 * 16 * 4
  return (gpu) => {
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
}

const [steps, savedBefore] = [4, 2]

// All losses are in one test, because each new device compiles every kernel again, which takes seconds on a software GPU.
test('a generation that loses its device makes the same image as one that does not, and its denoising loop resumes from the last checkpoint', async () => {
  const requested = vi.spyOn(GPUAdapter.prototype, 'requestDevice')
  const timestepsOn = watchTimesteps()
  const lastDevice = () => {
    const last = requested.mock.settledResults.at(-1)
    if (last?.type !== 'fulfilled') throw new Error('No device was opened')
    return last.value
  }
  pipeline = await loadPipeline(repository, { device: 'webgpu', offload: 'model' })
  const { item } = await fetchCase('tiny-sdxl')
  // While the mocked clock stands still, no checkpoint is due. The clock jumps before each generation, because a second device loss
  // within two minutes ends a generation with an error.
  let clock = 0
  vi.spyOn(performance, 'now').mockImplementation(() => clock)
  const generate = async (onProgress: (progress: PipelineProgress) => void, onStep = () => {}) => {
    clock += 200_000
    const reported: number[] = []
    const { images, warnings } = await pipeline!.generate(item.prompt, {
      ...caseOptions(item, ''),
      numInferenceSteps: steps,
      onProgress,
      onStep: ({ step }) => {
        reported.push(step)
        onStep()
      },
    })
    expect(reported).toEqual(Array.from({ length: steps }, (_, step) => step))
    return { images, warnings, runs: timestepsOn(lastDevice()) }
  }
  const plain = await generate(() => {})
  expect(plain).toMatchObject({ runs: steps, warnings: [] })
  const warnings = [expect.stringContaining('opened a new one')]

  for (const [what, isDue] of moments) {
    let due = true
    const again = await generate((progress) => {
      if (!due || !isDue(progress)) return
      due = false
      lastDevice().destroy()
    })
    expect(due, what).toBe(false)
    expect(again, what).toEqual({ images: plain.images, warnings, runs: steps })
  }

  // From here on, only the checkpoint before one step is due.
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
  let lost: GPUDevice | undefined
  const again = await generate(
    () => {},
    () => {
      if (lastCheckpoint?.() !== savedBefore || lost !== undefined) return
      lost = lastDevice()
      lost.destroy()
    },
  )
  expect(again).toEqual({ images: plain.images, warnings, runs: steps - savedBefore })
  expect(lastDevice()).not.toBe(lost)
  expect(requested).toHaveBeenCalledTimes(1 + moments.length + 1)
})
