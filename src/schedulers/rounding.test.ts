/**
 * Tests solvers whose float32 factors lose digits in diffusers: Aquatint's factors are float64 numbers, and its runs are as close to
 * diffusers' code in float64 as the rounding of the samples allows.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createScheduler } from './registry.js'
import { StepRunner, type Arithmetic } from './step-runner.js'
import type { SchedulerConfig } from './types.js'

interface Case {
  readonly class: string
  readonly config: SchedulerConfig
  readonly steps: number
  readonly expected: readonly number[]
  readonly error: number
}
const { noise, cases } = JSON.parse(readFileSync(new URL('../../fixtures/scheduler-rounding.json', import.meta.url), 'utf8')) as {
  readonly noise: readonly number[]
  readonly cases: readonly Case[]
}

/** Computes sums in float64 and rounds once. */
const arithmetic: Arithmetic<Float32Array> = {
  sum: (parts) =>
    Float32Array.from(noise, (_, i) => parts.reduce((total, { value, scale }) => total + scale * (value[i] ?? Number.NaN), 0)),
  noise: () => {
    throw new Error('These solvers draw no noise.')
  },
  dispose: () => {},
}

test.each(cases.map((item) => [`${item.class} ${JSON.stringify(item.config)}`, item] as const))(
  '%s is at most a few roundings from the exact result',
  (_, item) => {
    const { scheduler } = createScheduler(item.class, item.config)
    scheduler.setTimesteps(item.steps)
    const runner = new StepRunner(arithmetic)
    let sample: Float32Array = Float32Array.from(noise, (value) => value * scheduler.initNoiseSigma)
    for (const i of scheduler.timesteps.keys()) {
      const scale = scheduler.inputScale(i)
      const output = sample.map((value) => {
        const scaled = value * scale
        return Math.sin(scaled * 1.3 + i) + 0.3 * Math.min(2, Math.max(-2, scaled))
      })
      sample = runner.step(scheduler.plan(i), sample, [{ value: output, scale: 1 }])
    }
    const largest = Math.max(...item.expected.map(Math.abs))
    const error = Math.max(...item.expected.map((value, i) => Math.abs((sample[i] ?? Number.NaN) - value))) / largest
    // Each step rounds the sample and the output once.
    expect(error).toBeLessThan(2 * item.steps * 2 ** -24)
    expect(error).toBeLessThan(item.error / 10)
  },
)
