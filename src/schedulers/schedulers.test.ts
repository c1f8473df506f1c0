/**
 * Compares each scheduler with diffusers' class on the settings of fixtures/schedulers: timesteps, sigmas, every step alone (from
 * diffusers' sample), and the whole run (from Aquatint's own samples, with a formula in place of the model).
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { TorchGenerator } from '../util/random.js'
import { createScheduler, schedulerClassNames } from './registry.js'
import { StepRunner, type Arithmetic } from './step-runner.js'
import type { Scheduler, StepOptions } from './types.js'

interface Case {
  config: Record<string, unknown>
  num_inference_steps: number | null
  set_timesteps: { timesteps?: number[]; sigmas?: number[]; mu?: number }
  step: { eta?: number }
  timesteps: number[]
  sigmas: number[] | null
  init_noise_sigma: number
  steps: { scaled?: number[]; model_output?: number[]; prev_sample: number[] }[]
  add_noise: { begin_index: number; timestep: number; noisy: number[] } | null
}
interface Fixture {
  _class_name: string
  step_seed: number
  noise: number[]
  original_samples: number[]
  cases: Case[]
}

const epsilon = 2 ** -23
const magnitude = (values: ArrayLike<number>) => Math.max(...Array.from(values, Math.abs))

/** The largest difference, in units of float32's epsilon times the largest value. */
function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length)
  const scale = magnitude(expected) * epsilon || epsilon
  let result = 0
  for (let i = 0; i < expected.length; i++)
    result = Math.max(result, Math.abs((actual[i] ?? Number.NaN) - (expected[i] ?? 0)) / scale)
  return result
}

/** Computes sums in float64 and rounds once. */
function onHost(count: number, generator: TorchGenerator): Arithmetic<Float32Array> {
  return {
    sum: (parts, bound = Infinity) =>
      Float32Array.from({ length: count }, (_, i) => {
        const sum = parts.reduce((total, { value, scale, offset = 0 }) => total + scale * (value[offset + i] ?? Number.NaN), 0)
        return Math.min(bound, Math.max(-bound, sum))
      }),
    noise: () => generator.randn(count),
    dispose: () => {},
  }
}

/** Runs a scheduler on host arrays. */
function running(scheduler: Scheduler, options: StepOptions, seed: number, count: number) {
  const runner = new StepRunner(onHost(count, new TorchGenerator(seed)))
  return {
    scaled: (sample: Float32Array, index: number) => sample.map((value) => value * scheduler.inputScale(index)),
    step: (output: Float32Array, index: number, sample: Float32Array) =>
      runner.step(scheduler.plan(index, options), sample, [{ value: output, scale: 1 }]),
  }
}

const model = (scaled: Float32Array, i: number) => scaled.map((x) => Math.sin(x * 1.3 + i) + 0.3 * Math.min(2, Math.max(-2, x)))

for (const name of schedulerClassNames) {
  const fixture = JSON.parse(readFileSync(new URL(`../../fixtures/schedulers/${name}.json`, import.meta.url), 'utf8')) as Fixture
  const noise = Float32Array.from(fixture.noise)

  describe(name, () => {
    test.each(fixture.cases.map((entry, i) => [i, JSON.stringify(entry.config), entry] as const))(
      'case %i gives the schedule and the samples of diffusers: %s',
      (_, __, entry) => {
        const start = () => {
          const { scheduler } = createScheduler(name, entry.config)
          scheduler.setTimesteps(entry.num_inference_steps, entry.set_timesteps)
          return scheduler
        }
        const options: StepOptions = entry.step

        // 1. The schedule. The float32 values may differ in their last bits, because torch's vector routines differ from its scalar ones.
        const scheduler = start()
        expect(worst(scheduler.timesteps, entry.timesteps)).toBeLessThan(4)
        if (entry.timesteps.every((value) => Number.isInteger(value)) && !entry.config['use_karras_sigmas'])
          expect(scheduler.timesteps).toEqual(entry.timesteps)
        if ('sigmas' in scheduler && entry.sigmas !== null && entry.sigmas.length === entry.timesteps.length + 1) {
          const sigmas = scheduler.sigmas as readonly number[]
          for (const [i, sigma] of entry.sigmas.entries())
            expect(Math.abs((sigmas[i] ?? Number.NaN) - sigma) / (Math.abs(sigma) || 1)).toBeLessThan(sigma > 1000 ? 1e-3 : 2e-6)
        }
        expect(worst([scheduler.initNoiseSigma], [entry.init_noise_sigma])).toBeLessThan(entry.init_noise_sigma > 1000 ? 1e4 : 4)

        // 2. Every step, with diffusers' own model outputs and samples.
        const run = running(scheduler, options, fixture.step_seed, noise.length)
        let sample = noise.map((value) => value * entry.init_noise_sigma)
        let inputs: number[] = []
        // DEIS divides the sample by α and later multiplies by it. With flow matching α is small, and torch's float32 loses precision there.
        const flow = name === 'DEISMultistepScheduler' && entry.config['use_flow_sigmas'] === true
        const conditioning = flow ? 1 / (1 - (entry.sigmas?.[0] ?? 0)) : 1
        for (const i of scheduler.timesteps.keys()) {
          const expected = entry.steps.length === scheduler.timesteps.length ? entry.steps[i] : undefined
          if (expected?.scaled === undefined || expected.model_output === undefined) break
          inputs = [...inputs, magnitude(sample)].slice(-scheduler.order)
          expect(worst(run.scaled(sample, i), expected.scaled)).toBeLessThan(8)
          const next = run.step(Float32Array.from(expected.model_output), i, sample)
          // A float32 subtraction of values as large as the sample has an error of the sample's epsilon.
          const scale = (conditioning * Math.max(...inputs, magnitude(expected.prev_sample))) / magnitude(expected.prev_sample)
          expect(worst(next, expected.prev_sample)).toBeLessThan(32 * scale)
          sample = Float32Array.from(expected.prev_sample)
        }

        // 3. The whole run, from Aquatint's own samples.
        const whole = start()
        const wholeRun = running(whole, options, fixture.step_seed, noise.length)
        let own: Float32Array = noise.map((value) => value * whole.initNoiseSigma)
        let largest = 0
        for (const i of whole.timesteps.keys()) {
          largest = Math.max(largest, magnitude(own))
          own = wholeRun.step(model(wholeRun.scaled(own, i), i), i, own)
        }
        const last = entry.steps.at(-1)?.prev_sample ?? []
        const tolerance = Math.max(1e-4, (32 * epsilon * conditioning * largest) / magnitude(last))
        expect(worst(own, last) * epsilon).toBeLessThan(tolerance)

        // 4. Adding noise, as image to image does.
        if (entry.add_noise !== null) {
          const fresh = start()
          fresh.setBeginIndex(entry.add_noise.begin_index)
          const noisy = fresh.addNoise(Float32Array.from(fixture.original_samples), noise, entry.add_noise.timestep)
          expect(worst(noisy, entry.add_noise.noisy)).toBeLessThan(8)
        }
      },
    )
  })
}
