/**
 * EulerAncestralDiscreteScheduler: Euler's method with new noise after each step (Crowson's k-diffusion, `sample_euler_ancestral`).
 * Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprodForSigmas, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt } from '../numpy.js'
import { initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import { spaceTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EulerAncestralDiscreteScheduler'
const spec = {
  ...trainingKeys(),
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('linspace'),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' EulerAncestralDiscreteScheduler. */
export class EulerAncestralDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(this.config))
  }

  override get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { num_train_timesteps: trainSteps, timestep_spacing: spacing, steps_offset: offset } = this.config
    const count = this.countSteps(steps, options, trainSteps)
    const timesteps = float32(spaceTimesteps(spacing, count, trainSteps, offset))
    return { timesteps, sigmas: float32([...timesteps.map((timestep) => interpolateAt(timestep, this.#trainingSigmas)), 0]) }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const from = this.sigma(place)
    const to = this.sigma(place + 1)
    const up = fround(sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2))
    const down = fround(sqrt(to ** 2 - up ** 2))
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(this.config.prediction_type, from) },
        {
          name: 'derivative',
          terms: [
            [1 / from, 'sample'],
            [-1 / from, 'original'],
          ],
        },
        {
          name: 'next',
          terms: [
            [1, 'sample'],
            [fround(down - from), 'derivative'],
            [up, 'noise'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
