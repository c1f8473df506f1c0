/** DDIMScheduler: denoising diffusion implicit models (Song et al. 2020, arXiv 2010.02502). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, number, onlyWith, spacingKeys, trainingKeys, unsupportedThresholding } from '../config.js'
import { alphaNoiseLevel, alphasCumprod, at, noiseTerms, originalTerms } from '../noise-schedule.js'
import { round } from '../numpy.js'
import { spaceTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepOptions, StepPlan } from '../types.js'

const className = 'DDIMScheduler'
const spec = {
  ...trainingKeys(),
  clip_sample: flag(true),
  set_alpha_to_one: flag(true),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...unsupportedThresholding,
  clip_sample_range: onlyWith('clip_sample', true, number(1, 0)),
  ...spacingKeys('leading'),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' DDIMScheduler. */
export class DDIMScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #alphas: Float32Array
  readonly #finalAlpha: number
  #steps = 0

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    this.#alphas = alphasCumprod(this.config)
    this.#finalAlpha = this.config.set_alpha_to_one ? 1 : at(this.#alphas, 0)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { num_train_timesteps: trainSteps, timestep_spacing: spacing, steps_offset: offset } = this.config
    this.#steps = this.countSteps(steps, options, trainSteps)
    return { timesteps: spaceTimesteps(spacing, this.#steps, trainSteps, offset).map((value) => round(value)) }
  }

  plan(index: number, { eta = 0 }: StepOptions = {}): StepPlan {
    const { prediction_type: predictionType, clip_sample: clip, clip_sample_range: range } = this.config
    const timestep = this.timesteps[index] ?? 0
    const previous = timestep - Math.floor(this.config.num_train_timesteps / this.#steps)
    const alpha = at(this.#alphas, timestep)
    const alphaPrevious = previous >= 0 ? at(this.#alphas, previous) : this.#finalAlpha
    const beta = fround(1 - alpha)
    const variance = fround(fround(fround(1 - alphaPrevious) / beta) * fround(1 - fround(alpha / alphaPrevious)))
    const deviation = eta * fround(sqrt(variance))
    const rootAlpha = fround(sqrt(alpha))
    const rootBeta = fround(sqrt(beta))
    const direction = fround(sqrt(fround(1 - alphaPrevious - deviation ** 2)))
    return {
      sums: [
        { name: 'original', terms: originalTerms(predictionType, rootAlpha, rootBeta, clip), bound: clip ? range : undefined },
        { name: 'epsilon', terms: noiseTerms(predictionType, rootAlpha, rootBeta) },
        {
          name: 'next',
          terms: [
            [fround(sqrt(alphaPrevious)), 'original'],
            [direction, 'epsilon'],
            [deviation, 'noise'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return alphaNoiseLevel(at(this.#alphas, timestep))
  }
}
