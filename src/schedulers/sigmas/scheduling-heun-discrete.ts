/**
 * HeunDiscreteScheduler: Heun's second-order method (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn): two model calls
 * per step, except for the last step. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, number, onlyWith, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { checkSigmaSchedule, initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepSum } from '../types.js'
import { spacedSigmas, twiceButFirst } from './spaced-sigmas.js'

const className = 'HeunDiscreteScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012 }),
  beta_schedule: choice('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'exp']),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...sigmaKeys,
  clip_sample: flag(false),
  clip_sample_range: onlyWith('clip_sample', false, number(1, 0)),
  ...spacingKeys('linspace'),
}

const { fround } = Math

/** Moves the sample named `from` by `by` along the slope named `along`. */
function move(from: string, by: number, along: string): readonly StepSum[] {
  return [
    { name: 'move', terms: [[by, along]], rounded: true },
    {
      name: 'next',
      terms: [
        [1, from],
        [1, 'move'],
      ],
    },
  ]
}

/** diffusers' HeunDiscreteScheduler. */
export class HeunDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  override readonly order = 2
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  override get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['timesteps']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { className, config } = this
    const count = this.countSteps(steps, options, config.num_train_timesteps)
    const { timesteps, sigmas } = spacedSigmas(config, count, {
      className,
      training: this.#trainingSigmas,
      given: options.timesteps,
    })
    return { timesteps: twiceButFirst(timesteps), sigmas: [...twiceButFirst(sigmas), 0] }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const { clip_sample: clip, clip_sample_range: range, prediction_type: predictionType } = this.config
    const place = this.place(index)
    const sigma = this.sigma(place)
    // Round after each operation, as torch does: at sigmas of 10^4, rounding errors are as large as the image's share of the sample.
    const slope = (name: string): readonly StepSum[] => [
      { name: 'original', terms: sigmaOriginalTerms(predictionType, sigma), bound: clip ? range : undefined, rounded: true },
      {
        name: `noise of ${name}`,
        terms: [
          [1, 'sample'],
          [-1, 'original'],
        ],
        rounded: true,
      },
      { name, terms: [[1 / sigma, `noise of ${name}`]], rounded: true },
    ]
    if (this.stepsBefore(index) % 2 === 0) {
      const dt = fround(this.sigma(place + 1) - sigma)
      return {
        sums: [...slope('slope'), { name: 'start', terms: [[1, 'sample']] }, ...move('sample', dt, 'slope')],
        keep: ['slope', 'start'],
      }
    }
    // The second half repeats the step with the mean of the slopes at both ends.
    const dt = fround(sigma - this.sigma(place - 1))
    return {
      sums: [
        ...slope('slope at the end'),
        {
          name: 'both',
          terms: [
            [1, 'slope'],
            [1, 'slope at the end'],
          ],
          rounded: true,
        },
        ...move('start', dt / 2, 'both'),
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
