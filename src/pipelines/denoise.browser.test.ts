/**
 * The denoising loop on a real device of each kind: every scheduler against the same sums in float64, with a bound on the rounding error
 * that is worked out beside them; what is read back, compiled and told; and what happens when the device goes away.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { openDevice } from '../runtime/open-device.js'
import { numbers } from '../runtime/testing.js'
import { fixtureComponent } from '../runtime/testing-fixtures.js'
import type { Device, DeviceTensor } from '../runtime/types.js'
import type { WebGpuDevice } from '../runtime/webgpu-device.js'
import { createScheduler, schedulerClassNames } from '../schedulers/registry.js'
import { StepRunner, type Arithmetic } from '../schedulers/step-runner.js'
import { TorchGenerator } from '../util/random.js'
import { ComponentHost } from './component-host.js'
import { denoise, type DenoiseOptions } from './denoise.js'
import { previewCoefficients } from './latent-preview.js'
import type { Network } from './networks.js'
import { FixedInputs, type Predictor } from './predictor.js'
import { Recorder } from './recorder.js'
import { Run } from './run-hooks.js'
import type { CapturedTensors, StepInfo } from './types.js'
import { unetPredictor } from './unet-predictor.js'

const dims = [1, 4, 8, 8]
const count = 256
const guidanceScale = 5
const condition = numbers(2 * count, 7)
const factor = (timestep: number) => 0.4 + timestep / 4000

/** A network that is two factors: 0.4… of what it is shown and 0.3 of a condition for each half. */
function toyPredictor(
  device: Device,
  change: (prediction: DeviceTensor, call: number) => DeviceTensor = (same) => same,
): Predictor {
  const tensor = device.upload({ type: 'float32', dims: [2, ...dims.slice(1)], data: condition }, 'toy')
  let call = 0
  return {
    name: 'toy',
    device,
    recovering: (work) => work(),
    predict: async (sample, timestep) =>
      change(
        device.combine(
          [
            { tensor: sample, scale: factor(timestep) },
            { tensor, scale: 0.3 },
          ],
          sample.dims,
          'toy',
        ),
        call++,
      ),
    dispose: () => tensor.dispose(),
  }
}

function loopOptions(predictor: Predictor, className: string, config: Config, steps: number): DenoiseOptions {
  const { scheduler } = createScheduler(className, config)
  scheduler.setTimesteps(steps)
  const generator = new TorchGenerator(3)
  const data = generator.randn(count).map((value) => value * scheduler.initNoiseSigma)
  return {
    scheduler,
    begin: 0,
    latents: { dims, data },
    predictor,
    guidance: { scale: guidanceScale, rescale: 0 },
    eta: 0.5,
    generator,
    recorder: new Recorder(),
    run: new Run({}),
    onStep: undefined,
    previewEvery: 0,
    preview: previewCoefficients.sdxl,
    now: () => 0,
  }
}

/** Values with what float32 may have added to them: running error analysis, each operation within half a unit of 2^-23. */
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
    // Of each term the factor and the product are rounded, and then the sum with each term.
    result.error[i] = error + (parts.length + 2) * unit * 1.01 * size
  }
  return result
}

const exact = (values: ArrayLike<number>): Bounded => ({
  value: Float64Array.from(values),
  error: new Float64Array(values.length),
})

/**
 * Each step in float64, from the latents that the device had before it and the prediction that it made: the latents after it, one for each
 * step. What the scheduler keeps is kept in float64 too.
 */
function reference({ scheduler, latents, generator, eta }: DenoiseOptions, captured: CapturedTensors): Bounded[] {
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

/** The worst of the values' differences, in their bounds. */
function worstOf(actual: Float32Array, { value, error }: Bounded): number {
  return Math.max(...actual.map((own, i) => Math.abs(own - value[i]!) / error[i]!))
}

const base = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', steps_offset: 1 }
const settings: readonly (readonly [string, Config])[] = [
  ...schedulerClassNames.map((name) => [name, name === 'FlowMatchEulerDiscreteScheduler' ? { shift: 3 } : base] as const),
  ['DDIMScheduler', { ...base, clip_sample: true, prediction_type: 'v_prediction' }],
  ['DPMSolverMultistepScheduler', { ...base, algorithm_type: 'sde-dpmsolver++', use_karras_sigmas: true }],
  ['UniPCMultistepScheduler', { ...base, solver_order: 6 }],
  ['PNDMScheduler', { ...base, skip_prk_steps: true }],
]

describe.each(['webgpu', 'wasm'] as const)('on %s', (kind) => {
  let device: Device
  beforeEach(async () => {
    device = await openDevice({ kind })
  })
  afterEach(async () => device.dispose())

  test.each(settings)('%s %j: every value within its rounding error of float64', async (className, config) => {
    const recorder = new Recorder(['latents', 'noise_pred'])
    const options = { ...loopOptions(toyPredictor(device), className, config, 8), recorder }
    const { data } = await denoise(options)
    const captured = recorder.captured!
    const steps = reference(options, captured)
    expect(data).toEqual(captured[`latents_${steps.length - 1}`]?.data)
    for (const [index, expected] of steps.entries()) {
      // The bound says something: far below the values themselves.
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
    const told = await denoise({ ...options, recorder, previewEvery: 2, onStep: (step) => steps.push(step) })
    expect(told).toEqual(plain)
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

  test('guidance_rescale is worked out on the host', async () => {
    const guided = async (rescale: number) => {
      const options = loopOptions(toyPredictor(device), 'EulerDiscreteScheduler', base, 1)
      const recorder = new Recorder(['latents', 'noise_pred'])
      const { data } = await denoise({ ...options, recorder, guidance: { scale: guidanceScale, rescale } })
      return { data, expected: reference(options, recorder.captured!)[0]! }
    }
    const whole = await guided(0.7)
    expect(worstOf(whole.data, whole.expected)).toBeGreaterThan(1000)
    // So little that only the way differs; the bound of the guided output is the larger share of both.
    const none = await guided(1e-12)
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

  test('a cancel ends it within the steps that are under way', async () => {
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

/** A network of fixtures/tiny-sdxl on a host of its own, and inputs for it. */
async function hosted(name: 'unet' | 'text_encoder') {
  const device = (await openDevice({ kind: 'webgpu' })) as WebGpuDevice
  const { component, table, inputs } = await fixtureComponent(device, name, 8, 'block')
  await component.dispose()
  const config = (await (await fetch(`/fixtures/tiny-sdxl/repo/${name}/config.json`)).json()) as Config
  const className = name === 'unet' ? 'UNet2DConditionModel' : 'CLIPTextModel'
  const network: Network = { name, className, config, table, repo: 'tiny-sdxl' }
  const fixed = Object.fromEntries(
    Object.entries(inputs)
      .filter(([input]) => input !== 'sample' && input !== 'timestep_proj')
      .map(([input, tensor]) => [input, { dims: tensor.dims, data: Float32Array.from(tensor.data as Float32Array) }]),
  )
  const host = new ComponentHost({ device, dtype: 'float32', offload: 'resident', maxMemory: undefined })
  return { device, network, fixed, host, run: new Run({}) }
}

let compiled = 0
let mapped: number[] = []
const { mapAsync } = GPUBuffer.prototype
const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype

describe('with a real network on webgpu', () => {
  beforeEach(() => {
    compiled = 0
    mapped = []
    GPUBuffer.prototype.mapAsync = function (this: GPUBuffer, ...args) {
      mapped.push(this.size)
      return mapAsync.apply(this, args)
    }
    GPUDevice.prototype.createComputePipeline = function (this: GPUDevice, ...args) {
      compiled++
      return createComputePipeline.apply(this, args)
    }
    GPUDevice.prototype.createComputePipelineAsync = function (this: GPUDevice, ...args) {
      compiled++
      return createComputePipelineAsync.apply(this, args)
    }
  })
  afterEach(() => {
    GPUBuffer.prototype.mapAsync = mapAsync
    Object.assign(GPUDevice.prototype, { createComputePipeline, createComputePipelineAsync })
  })

  test('a step reads nothing back but two counters, a preview the latents once; nothing is compiled after the first step', async () => {
    const { host, device, network, fixed, run } = await hosted('unet')
    const unet = unetPredictor(network, fixed, host, run)
    /** What had been compiled when each prediction was asked for. */
    const asked: { readonly pipelines: number; readonly sessions: number }[] = []
    const predictor: Predictor = {
      name: unet.name,
      device,
      recovering: (work) => work(),
      predict: async (sample, timestep) => {
        asked.push({ pipelines: compiled, sessions: device.sessions.counts.created })
        return unet.predict(sample, timestep)
      },
      dispose: () => unet.dispose(),
    }
    const steps = 5
    const uploads: number[] = []
    const { upload } = device
    device.upload = (tensor, owner) => {
      uploads.push(tensor.data.byteLength)
      return upload.call(device, tensor, owner)
    }
    const options = () => loopOptions(predictor, 'DPMSolverMultistepScheduler', base, steps)
    const plain = await denoise(options())
    const [latents, counters] = [count * 4, 8]
    // Every mapping of any GPU buffer there was, onnxruntime's included.
    expect(mapped.toSorted((a, b) => a - b)).toEqual([...Array<number>(steps).fill(counters), latents])
    expect(asked).toHaveLength(steps)
    expect(asked[0]).toMatchObject({ sessions: 0 })
    expect(asked[1]!.sessions).toBeGreaterThan(0)
    // The solver's second step is the first with a prediction before it: one sum more, and that is all there is to compile.
    expect(asked.slice(2).map(({ pipelines }) => pipelines)).toEqual(Array<number>(steps - 2).fill(asked[2]!.pipelines))
    expect(asked[2]!.pipelines - asked[1]!.pipelines).toBeLessThanOrEqual(1)
    expect(asked.slice(2).map(({ sessions }) => sessions)).toEqual(Array<number>(steps - 2).fill(asked[1]!.sessions))
    // The initial latents and the condition, once each.
    expect(uploads).toHaveLength(1 + 2)

    const { pipelines, sessions } = { pipelines: compiled, sessions: device.sessions.counts.created }
    mapped = []
    const previews: StepInfo[] = []
    expect(await denoise({ ...options(), previewEvery: 1, onStep: (step) => previews.push(step) })).toEqual(plain)
    expect(previews.every(({ preview }) => preview !== undefined)).toBe(true)
    expect(mapped.filter((size) => size !== counters)).toEqual(Array<number>(steps + 1).fill(latents))
    expect([compiled, device.sessions.counts.created]).toEqual([pipelines, sessions])
    predictor.dispose()
    await host.dispose()
    expect(device.memory.snapshot().live).toBe(0)
  })

  test.each([
    ['the last one that was saved', 10_000, 0, 2],
    ['the first where none was', 0, 5, 5],
  ])(
    'after a lost device it goes on from %s, with the same latents and each step told once',
    async (_, perCall, leastAgain, mostAgain) => {
      const { host, run, device, network, fixed } = await hosted('text_encoder')
      const inputs = new FixedInputs(fixed, network, host)
      let calls = 0
      let lostAt = Number.POSITIVE_INFINITY
      // A real network's output goes into each prediction, from weights and inputs that a new device has to be given again.
      const predictor: Predictor = {
        name: network.name,
        get device() {
          return host.deviceOf(network)
        },
        recovering: (work) => host.recovering(network, run, work),
        predict: async (sample, timestep) => {
          if (calls++ === lostAt) {
            device.gpu.destroy()
            await device.lost
          }
          const outputs = await host.runOnce(network, inputs.tensors, run)
          const terms = [
            { tensor: sample, scale: factor(timestep) },
            { tensor: outputs['hidden_state']!, scale: 0.1 },
          ]
          const prediction = host.deviceOf(network).combine(terms, sample.dims, network.name)
          for (const tensor of Object.values(outputs)) tensor.dispose()
          return prediction
        },
        dispose: () => inputs.dispose(),
      }
      const steps = 8
      let clock = 0
      const options = () => ({
        ...loopOptions(predictor, 'EulerAncestralDiscreteScheduler', base, steps),
        run,
        now: () => (clock += perCall),
      })
      const plain = await denoise(options())
      calls = 0
      lostAt = 5
      const told: number[] = []
      expect(await denoise({ ...options(), onStep: ({ step }) => told.push(step) })).toEqual(plain)
      expect(told).toEqual(Array.from({ length: steps }, (_, i) => i))
      // The call that failed, and those of the steps that were done again.
      expect(calls - steps - 1).toBeGreaterThanOrEqual(leastAgain)
      expect(calls - steps - 1).toBeLessThanOrEqual(mostAgain)
      expect(run.warnings).toEqual([expect.stringContaining('opened anew')])
      predictor.dispose()
      const { memory } = host.deviceOf(network)
      await host.dispose()
      expect(memory.snapshot().live).toBe(0)
    },
  )
})
