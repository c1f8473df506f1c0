/**
 * The denoising loop on a device of each kind. Every scheduler is compared with the same sums in float64; the difference must be within a
 * bound on the rounding error, which the test computes too. It also tests reported steps, captured tensors, values that are not finite, and
 * cancellation. denoise-on-gpu.isolated.browser.test.ts tests the loop with real networks.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Config } from '../../checkpoint/types.js'
import { openDevice } from '../../runtime/open-device.js'
import { numbers } from '../../runtime/testing.js'
import { schedulerClassNames } from '../../schedulers/registry.js'
import { StepRunner, type Arithmetic } from '../../schedulers/step-runner.js'
import { Run, Recorder } from '../run.js'
import {
  base,
  condition,
  count,
  denoise,
  factor,
  guidanceScale,
  latentDims,
  loopOptions,
  toyPredictor,
  type LoopOptions,
} from './testing-denoise.js'
import type { CapturedTensors, StepInfo } from '../types.js'
import type { Device } from '../../runtime/device.js'

/** Values, and bounds on their float32 rounding errors by running error analysis: each operation has a relative error of at most 2^-24. */
interface Bounded {
  readonly value: Float64Array
  readonly error: Float64Array
}

const unit = 2 ** -24

function sum(parts: readonly { value: Bounded; scale: number; offset?: number | undefined }[], bound = Infinity): Bounded {
  const result = { value: new Float64Array(count), error: new Float64Array(count) }
  for (let i = 0; i < count; i++) {
    let [value, error, size] = [0, 0, 0]
    for (const { value: from, scale, offset = 0 } of parts) {
      value += scale * from.value[offset + i]!
      error += Math.abs(scale) * from.error[offset + i]!
      size += Math.abs(scale) * (Math.abs(from.value[offset + i]!) + from.error[offset + i]!)
    }
    result.value[i] = Math.min(bound, Math.max(-bound, value))
    // For each term, float32 rounds its factor and its product once, and every sum that contains it. 1.01 covers second-order terms.
    result.error[i] = error + (parts.length + 2) * unit * 1.01 * size
  }
  return result
}

const exact = (values: ArrayLike<number>): Bounded => ({
  value: Float64Array.from(values),
  error: new Float64Array(values.length),
})

/**
 * Computes each step in float64, from the device's latents before the step and the device's prediction. Returns the latents after each step.
 * The tensors that the scheduler keeps from step to step are in float64 too.
 */
function reference({ scheduler, latents, generator, eta }: LoopOptions, captured: CapturedTensors): Bounded[] {
  const noises = generator.clone()
  const arithmetic: Arithmetic<Bounded> = { sum, noise: () => exact(noises.randn(count)), dispose: () => {} }
  const runner = new StepRunner(arithmetic)
  return scheduler.timesteps.map((_, index) => {
    const sample = exact((captured[`latents_${index - 1}`] ?? latents).data)
    const prediction = exact(captured[`noise_pred_${index}`]!.data)
    return runner.step(scheduler.plan(index, { eta }), sample, [
      { value: prediction, scale: 1 - guidanceScale },
      { value: prediction, scale: guidanceScale, offset: count },
    ])
  })
}

/** The largest difference between `actual` and `value`, divided by the bound on the rounding error. */
function worstOf(actual: Float32Array, { value, error }: Bounded): number {
  return Math.max(...actual.map((own, i) => Math.abs(own - value[i]!) / error[i]!))
}

const settings: readonly (readonly [string, Config])[] = [
  ...schedulerClassNames.map((name) => [name, name === 'FlowMatchEulerDiscreteScheduler' ? { shift: 3 } : base] as const),
  ['DDIMScheduler', { ...base, clip_sample: true, prediction_type: 'v_prediction' }],
  ['DPMSolverMultistepScheduler', { ...base, algorithm_type: 'sde-dpmsolver++', use_karras_sigmas: true }],
  ['UniPCMultistepScheduler', { ...base, solver_order: 6 }],
  ['PNDMScheduler', { ...base, skip_prk_steps: true }],
]

/** A step with guidance_rescale, and the same step without it. */
async function oneStep(device: Device, rescale: number) {
  const options = loopOptions(toyPredictor(device), 'EulerDiscreteScheduler', base, 1)
  const recorder = new Recorder(['latents', 'noise_pred'])
  const { data } = await denoise({ ...options, recorder, guidance: { scale: guidanceScale, rescale } })
  return { data, expected: reference(options, recorder.captured!)[0]! }
}

const twice = async <T>(work: () => Promise<T>): Promise<T> => work().catch(work)

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  let device: Device
  beforeAll(async () => {
    device = await openDevice({ kind })
  })
  afterAll(async () => device.dispose())

  test.each(settings)('%s %j: every value within its rounding error of float64', async (className, config) => {
    const recorder = new Recorder(['latents', 'noise_pred'])
    const options = { ...loopOptions(toyPredictor(device), className, config, 8), recorder }
    const { data } = await denoise(options)
    const captured = recorder.captured!
    const steps = reference(options, captured)
    expect(data).toEqual(captured[`latents_${steps.length - 1}`]?.data)
    for (const [index, expected] of steps.entries()) {
      // The permitted error is far below the values; otherwise the comparison on the next line could not fail.
      expect(Math.max(...expected.error)).toBeLessThan(1e-3 * Math.max(...expected.value.map(Math.abs)))
      expect(worstOf(captured[`latents_${index}`]!.data, expected)).toBeLessThanOrEqual(1)
    }
    const shown = exact(options.latents.data)
    const [uncond, text] = [0, count].map((offset) =>
      sum([
        {
          value: sum([{ value: shown, scale: options.scheduler.inputScale(0) }]),
          scale: factor(options.scheduler.timesteps[0]!),
        },
        { value: exact(condition), scale: 0.3, offset },
      ]),
    )
    expect(worstOf(captured['noise_pred_0']!.data.slice(0, count), uncond!)).toBeLessThanOrEqual(1)
    expect(worstOf(captured['noise_pred_0']!.data.slice(count), text!)).toBeLessThanOrEqual(1)
  })

  test('the result is the same with previews and captured tensors, which are those of each step', async () => {
    const options = loopOptions(toyPredictor(device), 'EulerDiscreteScheduler', base, 4)
    const steps: StepInfo[] = []
    const recorder = new Recorder(['noise_pred', 'latents'])
    const plain = await denoise(loopOptions(toyPredictor(device), 'EulerDiscreteScheduler', base, 4))
    const reported = await denoise({ ...options, recorder, previewEvery: 2, onStep: (step) => steps.push(step) })
    expect(reported).toEqual(plain)
    expect(steps.map(({ step, total, preview }) => [step, total, preview?.width])).toEqual([
      [0, 4, undefined],
      [1, 4, 8],
      [2, 4, undefined],
      [3, 4, 8],
    ])
    const captured = recorder.captured!
    expect(Object.keys(captured).filter((name) => name.startsWith('latents'))).toHaveLength(4)
    expect(captured['latents_3']).toEqual(plain)
    expect(captured['noise_pred_0']?.dims).toEqual([2, 4, 8, 8])
  })

  test('guidance_rescale is computed on the host', async () => {
    const whole = await oneStep(device, 0.7)
    expect(worstOf(whole.data, whole.expected)).toBeGreaterThan(1000)
    // With a factor this small, no value changes, but the host computes the sums. Its rounding errors are as large as those of the device,
    // so the bound is doubled.
    const none = await oneStep(device, 1e-12)
    expect(worstOf(none.data, none.expected)).toBeLessThan(2)
  })

  test.each([
    ['not-finite', 1, (values: Float32Array) => values.fill(Number.NaN, 5, 8), { bad: 3, count: 2 * count }],
    ['all-zero', 2, (values: Float32Array) => values.fill(0), { count: 2 * count }],
  ] as const)('a prediction that is %s ends the run, with its step', async (code, at, spoil, details) => {
    let calls = 0
    const predictor = toyPredictor(device, (prediction, call) => {
      calls++
      if (call !== at) return prediction
      const data = numbers(2 * count, 1)
      spoil(data)
      return device.upload({ type: 'float32', dims: prediction.dims, data }, 'toy')
    })
    const steps: number[] = []
    const options = loopOptions(predictor, 'EulerDiscreteScheduler', base, 8)
    await expect(denoise({ ...options, onStep: ({ step }) => steps.push(step) })).rejects.toMatchObject({
      code,
      details: { what: `the denoiser's output at step ${at}`, ...details },
    })
    expect(steps).toEqual(Array.from({ length: at }, (_, i) => i))
    expect(calls).toBeLessThanOrEqual(at + 2)
  })

  test('after a checkpoint that could not be read, the next step makes one', async () => {
    const steps = 6
    let calls = 0
    let failAt = 4
    const predictor = toyPredictor(device, (prediction) => {
      if (calls++ === failAt) throw new Error('The device is gone.')
      return prediction
    })
    const combine = device.combine.bind(device)
    let reads = 0
    vi.spyOn(device, 'combine').mockImplementation((...call) => {
      const tensor = combine(...call)
      if (tensor.dims.join() !== latentDims.join()) return tensor
      const read = tensor.read.bind(tensor)
      return Object.assign(tensor, { read: async () => (reads++ === 0 ? Promise.reject(new Error('not now')) : read()) })
    })
    let clock = 0
    const options = () => ({
      ...loopOptions(predictor, 'EulerDiscreteScheduler', base, steps),
      // Each step's checkpoint is due.
      now: () => (clock += 10_000),
    })
    const data = await denoise(options(), twice)
    // The first step's checkpoint was the one that failed.
    expect(reads).toBeGreaterThan(2)
    expect(calls - 1 - steps).toBeLessThan(failAt)
    vi.restoreAllMocks()
    failAt = Number.POSITIVE_INFINITY
    expect(data).toEqual(await denoise(options()))
  })

  test('a cancel ends the loop within the steps in flight', async () => {
    let calls = 0
    const abort = new AbortController()
    const predictor = toyPredictor(device, (prediction) => {
      calls++
      return prediction
    })
    const options = loopOptions(predictor, 'EulerDiscreteScheduler', base, 50)
    const steps: number[] = []
    const running = denoise({
      ...options,
      run: new Run({ signal: abort.signal }),
      onStep: ({ step }) => {
        steps.push(step)
        if (step === 1) abort.abort()
      },
    })
    await expect(running).rejects.toMatchObject({ name: 'AbortError' })
    expect(calls).toBeLessThanOrEqual(4)
    expect(steps).toEqual([0, 1])
  })
})
