/** TCDScheduler: strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024, arXiv 2402.19159). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, integer, trainingKeys, unsupportedThresholding, unused } from '../config.js'
import { alphaNoiseLevel, alphasCumprod, at, noiseTerms, originalTerms } from '../noise-schedule.js'
import { checkFalling } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepOptions, StepPlan } from '../types.js'
import { consistencyTimesteps } from './consistency-timesteps.js'

const className = 'TCDScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012, schedule: 'scaled_linear' }),
  original_inference_steps: integer(50, 1, 100_000),
  // diffusers' class has the keys that are `unused` here but does not use them either.
  clip_sample: unused(false),
  clip_sample_range: unused(1),
  set_alpha_to_one: unused(true),
  steps_offset: unused(0),
  timestep_spacing: unused('leading'),
  timestep_scaling: unused(10),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...unsupportedThresholding,
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' TCDScheduler. Its `eta` is the paper's γ: 0 is deterministic, 1 adds as much noise as LCM does. */
export class TCDScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #alphas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    this.#alphas = alphasCumprod(this.config)
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['timesteps']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { num_train_timesteps: trainSteps, original_inference_steps: originalSteps } = this.config
    if (options.timesteps === undefined) {
      const count = this.countSteps(steps, options, Math.min(originalSteps, trainSteps))
      return { timesteps: consistencyTimesteps(count, originalSteps, trainSteps) }
    }
    checkFalling(options.timesteps, trainSteps)
    return { timesteps: options.timesteps }
  }

  plan(index: number, { eta = 0 }: StepOptions = {}): StepPlan {
    const { prediction_type: predictionType } = this.config
    const place = this.place(index)
    const previous = this.timesteps[place + 1] ?? 0
    const alpha = at(this.#alphas, this.timesteps[index] ?? 0)
    const alphaPrevious = at(this.#alphas, previous)
    // Without adding noise, the step goes to timestep floor((1 − eta) · previous), the paper's s. From there it goes back to the previous
    // timestep by adding noise.
    const alphaNoised = at(this.#alphas, Math.floor(fround(fround(1 - eta) * previous)))
    const rootAlpha = fround(sqrt(alpha))
    const rootBeta = fround(sqrt(fround(1 - alpha)))
    const ratio = fround(alphaPrevious / alphaNoised)
    const noisy = eta > 0 && place < this.timesteps.length - 1
    return {
      sums: [
        { name: 'original', terms: originalTerms(predictionType, rootAlpha, rootBeta) },
        { name: 'epsilon', terms: noiseTerms(predictionType, rootAlpha, rootBeta) },
        {
          name: 'noised',
          terms: [
            [fround(sqrt(alphaNoised)), 'original'],
            [fround(sqrt(fround(1 - alphaNoised))), 'epsilon'],
          ],
        },
        {
          name: 'next',
          terms: [
            [noisy ? fround(sqrt(ratio)) : 1, 'noised'],
            [noisy ? fround(sqrt(fround(1 - ratio))) : 0, 'noise'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return alphaNoiseLevel(at(this.#alphas, timestep))
  }
}
