/** LCMScheduler: multistep consistency sampling of latent consistency models (arXiv 2310.04378). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, integer, number, onlyWith, trainingKeys, unsupportedThresholding, unused } from '../config.js'
import { alphaNoiseLevel, alphasCumprod, at, originalTerms } from '../noise-schedule.js'
import { checkFalling } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'
import { consistencyTimesteps } from './consistency-timesteps.js'

const className = 'LCMScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012, schedule: 'scaled_linear' }),
  original_inference_steps: integer(50, 1, 100_000),
  clip_sample: flag(false),
  clip_sample_range: onlyWith('clip_sample', false, number(1, 0)),
  set_alpha_to_one: flag(true),
  // diffusers' class has these two keys but does not use them.
  steps_offset: unused(0),
  timestep_spacing: unused('leading'),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...unsupportedThresholding,
  timestep_scaling: number(10, 0),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math
const sigmaData = 0.5

/** diffusers' LCMScheduler. */
export class LCMScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #alphas: Float32Array
  readonly #finalAlpha: number

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    this.#alphas = alphasCumprod(this.config)
    this.#finalAlpha = this.config.set_alpha_to_one ? 1 : at(this.#alphas, 0)
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['timesteps']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { num_train_timesteps: trainSteps, original_inference_steps: originalSteps } = this.config
    if (options.timesteps === undefined) {
      const count = this.countSteps(steps, options, originalSteps)
      return { timesteps: consistencyTimesteps(count, originalSteps, trainSteps) }
    }
    checkFalling(options.timesteps, trainSteps)
    return { timesteps: options.timesteps }
  }

  plan(index: number): StepPlan {
    const {
      prediction_type: predictionType,
      clip_sample: clip,
      clip_sample_range: range,
      timestep_scaling: scaling,
    } = this.config
    const timestep = this.timesteps[index] ?? 0
    const place = this.place(index)
    const previous = this.timesteps[place + 1] ?? timestep
    const alpha = at(this.#alphas, timestep)
    const alphaPrevious = previous >= 0 ? at(this.#alphas, previous) : this.#finalAlpha
    const scaled = timestep * scaling
    const last = place === this.timesteps.length - 1
    return {
      sums: [
        {
          name: 'original',
          terms: originalTerms(predictionType, fround(sqrt(alpha)), fround(sqrt(fround(1 - alpha))), clip),
          bound: clip ? range : undefined,
        },
        {
          name: 'denoised',
          terms: [
            [scaled / sqrt(scaled ** 2 + sigmaData ** 2), 'original'],
            [sigmaData ** 2 / (scaled ** 2 + sigmaData ** 2), 'sample'],
          ],
        },
        {
          name: 'next',
          terms: [
            [last ? 1 : fround(sqrt(alphaPrevious)), 'denoised'],
            [last ? 0 : fround(sqrt(fround(1 - alphaPrevious))), 'noise'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return alphaNoiseLevel(at(this.#alphas, timestep))
  }
}
