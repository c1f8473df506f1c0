/**
 * Gives every class, one at a time, each key that any scheduler reads. Either the timesteps and samples equal those of diffusers, or the
 * class refuses the config with an error that names the key. fixtures/config-keys/schedulers.json holds the results of diffusers.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { valuesFor } from '../util/testing-values.js'
import { TorchGenerator } from '../util/random.js'
import { createScheduler, schedulerClassNames } from './registry.js'
import { KDPM2DiscreteScheduler } from './sigmas/scheduling-k-dpm-2-discrete.js'
import { ancestralStep, KDPM2AncestralDiscreteScheduler } from './sigmas/scheduling-k-dpm-2-ancestral-discrete.js'
import { StepRunner, type Arithmetic } from './step-runner.js'

interface KeyCase {
  readonly class: string
  readonly config: Readonly<Record<string, unknown>>
  readonly output: readonly number[]
  readonly changes: readonly (readonly [key: string, judged: 'same' | 'error' | readonly number[], value: unknown])[]
}

const cases = JSON.parse(
  readFileSync(new URL('../../fixtures/config-keys/schedulers.json', import.meta.url), 'utf8'),
) as readonly KeyCase[]
const steps = 5
const count = 4
const given = (name: string) => Float32Array.from(valuesFor(name, count))

/** The timesteps, and the sample after each step with diffusers' own default of `eta`. */
function run(className: string, config: KeyCase['config']): number[] {
  const { scheduler } = createScheduler(className, config)
  scheduler.setTimesteps(steps, scheduler.config['use_dynamic_shifting'] === true ? { mu: 0.9 } : {})
  const values = [...scheduler.timesteps]
  // diffusers' generator is seeded again for each step.
  let generator = new TorchGenerator(7)
  const arithmetic: Arithmetic<Float32Array> = {
    sum: (parts, bound = Infinity) =>
      Float32Array.from({ length: count }, (_, i) => {
        const sum = parts.reduce((total, { value, scale, offset = 0 }) => total + scale * (value[offset + i] ?? Number.NaN), 0)
        return Math.min(bound, Math.max(-bound, sum))
      }),
    noise: () => generator.randn(count),
    dispose: () => {},
  }
  const runner = new StepRunner(arithmetic)
  let sample: Float32Array = given('sample').map((value) => value * scheduler.initNoiseSigma)
  for (const index of scheduler.timesteps.keys()) {
    generator = new TorchGenerator(7)
    sample = runner.step(scheduler.plan(index, className === 'TCDScheduler' ? { eta: 0.3 } : {}), sample, [
      { value: given(`output ${index}`), scale: 1 },
    ])
    values.push(...sample)
  }
  return values
}

/** Whether two traces are equal, apart from float32's rounding in the sums of five steps and the fixture's precision of six digits. */
function equal(actual: readonly number[], trace: readonly number[]): boolean {
  const calls = actual.length / (count + 1)
  // The fixture also has sigmas, between the timesteps and the samples. They are not compared, because the classes store them in
  // different ways.
  const expected = [...trace.slice(0, calls), ...trace.slice(-count * calls)]
  const scale = Math.max(...expected.slice(calls).map(Math.abs), 1)
  return (
    actual.length === expected.length &&
    expected.every((value, i) => Math.abs(value - (actual[i] ?? Number.NaN)) <= 5e-5 * Math.max(Math.abs(value), scale))
  )
}

/**
 * A result that depends on a rounding error in diffusers: the sigma of the last half step is √(1 − `up`²), and `up` is almost 1. On the
 * machine that wrote the fixture, torch.sqrt gave `up` with a wrong last digit. The test below shows this.
 */
const noise: ReadonlySet<string> = new Set(['KDPM2AncestralDiscreteScheduler beta_start 0.5'])

test('the only result that differs from diffusers’ comes from the last digit of a square root', () => {
  const { fround, sqrt } = Math
  const { up, down } = ancestralStep(1762.307373046875, 1)
  // This is the float32 number nearest to the exact root; diffusers gives the next one.
  expect(up).toBe(0.9999998211860657)
  const theirs = 0.9999998807907104
  expect(theirs).toBe(fround(up + 2 ** -24))
  const downOf = (value: number) => fround(sqrt(fround(1 - fround(value * value))))
  expect([downOf(up), downOf(theirs)]).toEqual([down, 0.00048828125])
})

test.each([KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler])('%o has the sigmas of diffusers', (Scheduler) => {
  const item = cases.find((one) => one.class === Scheduler.className)
  const scheduler = new Scheduler(item?.config ?? {})
  scheduler.setTimesteps(steps)
  const calls = scheduler.timesteps.length
  const expected = item?.output.slice(calls, -count * calls) ?? []
  expect(expected).toHaveLength(12)
  expect([...scheduler.sigmas]).toEqual(expected.map((value) => expect.closeTo(value, 5)))
})

test('the fixture has every class', () => {
  expect(cases.map((item) => item.class)).toEqual(expect.arrayContaining([...schedulerClassNames]))
})

/**
 * Values that diffusers never writes. They have no effect in this run, but would have one in others: strings for numbers, a fractional
 * `steps_offset`, unusual `num_train_timesteps` such as 0 or 2, types of variance for which diffusers cuts model outputs of four channels
 * to three, and dynamic thresholding, which does not change samples as small as this run's.
 */
function isNonsense(key: string, value: unknown): boolean {
  if (key === 'thresholding') return value !== 0
  if (key === 'variance_type') return value === 'learned' || value === 'learned_range'
  return value === 'no_such' || key === 'num_train_timesteps' || (key === 'steps_offset' && value === 0.5)
}

test.each(cases.map((item) => [item.class, item] as const))(
  '%s: each changed key has the effect that it has in diffusers, or is refused',
  (name, item) => {
    expect(equal(run(name, item.config), item.output)).toBe(true)
    const faults: string[] = []
    for (const [key, judged, value] of item.changes) {
      let actual: number[]
      try {
        actual = run(name, { ...item.config, [key]: value })
      } catch (error) {
        // A training of two timesteps allows no run of five steps. Then the error names the number of steps instead of the key.
        const said = error instanceof AquatintError ? `${error.message} ${JSON.stringify(error.details['key'] ?? null)}` : ''
        const named = said.includes(key) || (key === 'num_train_timesteps' && said.startsWith('numInferenceSteps'))
        // If diffusers fails too, any error of Aquatint is right.
        if (judged === 'same' && !isNonsense(key, value))
          faults.push(`${key} ${JSON.stringify(value)}: is refused and changes nothing: ${said}`)
        if (!named && (judged !== 'error' || !(error instanceof AquatintError)))
          faults.push(`${key} ${JSON.stringify(value)}: fails with ${String(error)}`)
        continue
      }
      if (noise.has(`${name} ${key} ${JSON.stringify(value)}`)) continue
      if (judged !== 'error' && !equal(actual, judged === 'same' ? item.output : judged))
        faults.push(`${key} ${JSON.stringify(value)}: another picture`)
    }
    expect(faults).toEqual([])
  },
)
