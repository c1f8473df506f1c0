/**
 * KDPM2DiscreteScheduler: the second-order sampler of Crowson's k-diffusion (`sample_dpm_2`), which calls the model once more halfway to the
 * next sigma. Source: algorithm 2 of Karras et al. 2022, arXiv 2206.00364. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { checkSigmaSchedule, initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'
import { midpointSigma, withMidpoints } from './midpoint-sigmas.js'
import { spacedSigmas, twiceButFirst } from './spaced-sigmas.js'

const className = 'KDPM2DiscreteScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012 }),
  ...sigmaKeys,
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('linspace'),
}

const { fround } = Math

/** diffusers' KDPM2DiscreteScheduler. */
export class KDPM2DiscreteScheduler extends BaseScheduler<typeof spec> {
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

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const training = this.#trainingSigmas
    const count = this.countSteps(steps, options, this.config.num_train_timesteps)
    const { timesteps, sigmas } = spacedSigmas(this.config, count, { className, training, roundKarras: true })
    const midpoints = sigmas.slice(1).map((sigma, i) => midpointSigma(sigma, sigmas[i] ?? 0))
    return { timesteps: withMidpoints(timesteps, midpoints, training), sigmas: [...twiceButFirst([...sigmas, 0]), 0] }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.#modelSigma(index))
  }

  /** Whether the step at an index goes from a sigma to the midpoint. The other steps go from there to the next sigma. */
  #isFirst(index: number): boolean {
    return this.stepsBefore(index) % 2 === 0
  }

  /** The sigma at which the model is called. */
  #modelSigma(index: number): number {
    const place = this.place(index)
    return this.#isFirst(index) ? this.sigma(place) : midpointSigma(this.sigma(place), this.sigma(place - 1))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const first = this.#isFirst(index)
    const sigma = this.#modelSigma(index)
    const to = first ? midpointSigma(this.sigma(place + 1), sigma) : this.sigma(place)
    const dt = fround(to - (first ? sigma : this.sigma(place - 1)))
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(this.config.prediction_type, sigma) },
        {
          name: 'derivative',
          terms: [
            [1 / sigma, 'sample'],
            [-1 / sigma, 'original'],
          ],
        },
        ...(first ? [{ name: 'start', terms: [[1, 'sample']] } as const] : []),
        {
          name: 'next',
          terms: [
            [1, 'start'],
            [dt, 'derivative'],
          ],
        },
      ],
      keep: first ? ['start'] : [],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
