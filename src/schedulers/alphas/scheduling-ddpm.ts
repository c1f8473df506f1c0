/** DDPMScheduler: denoising diffusion probabilistic models (Ho et al. 2020, arXiv 2006.11239). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, number, onlyWith, spacingKeys, trainingKeys, unsupportedThresholding, type Reader } from '../config.js'
import { alphaNoiseLevel, alphasCumprod, at, originalTerms } from '../noise-schedule.js'
import { round } from '../numpy.js'
import { checkFalling, spaceTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'DDPMScheduler'
const variances = ['fixed_small', 'fixed_small_log', 'fixed_large'] as const
const variance = choice('fixed_small', variances)
/** Values that diffusers supports and Aquatint does not. In diffusers, an unknown value has the effect of `fixed_small`. */
const otherVariances: ReadonlySet<unknown> = new Set(['fixed_large_log', 'learned', 'learned_range'])
const varianceType: Reader<(typeof variances)[number]> = (value, key) => {
  const known = otherVariances.has(value) ? value : variances.find((name) => name === value)
  if (known === undefined) key.ignore()
  return variance(known, key)
}
const spec = {
  ...trainingKeys(),
  variance_type: varianceType,
  clip_sample: flag(true),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...unsupportedThresholding,
  clip_sample_range: onlyWith('clip_sample', true, number(1, 0)),
  ...spacingKeys('leading'),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' DDPMScheduler. */
export class DDPMScheduler extends BaseScheduler<typeof spec> {
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
    const { num_train_timesteps: trainSteps, timestep_spacing: spacing, steps_offset: offset } = this.config
    const { timesteps } = options
    if (timesteps === undefined) {
      const count = this.countSteps(steps, options, trainSteps)
      return { timesteps: spaceTimesteps(spacing, count, trainSteps, offset).map((value) => round(value)) }
    }
    checkFalling(timesteps, trainSteps)
    return { timesteps }
  }

  plan(index: number): StepPlan {
    const { prediction_type: predictionType, clip_sample: clip, clip_sample_range: range } = this.config
    const timestep = this.timesteps[index] ?? 0
    const previous = this.timesteps[index + 1] ?? -1
    const alpha = at(this.#alphas, timestep)
    const alphaPrevious = previous >= 0 ? at(this.#alphas, previous) : 1
    const beta = fround(1 - alpha)
    const betaPrevious = fround(1 - alphaPrevious)
    const currentAlpha = fround(alpha / alphaPrevious)
    const currentBeta = fround(1 - currentAlpha)
    const small = Math.max(1e-20, (betaPrevious / beta) * currentBeta)
    const deviation = fround(sqrt(this.config.variance_type === 'fixed_large' ? currentBeta : small))
    return {
      sums: [
        {
          name: 'original',
          terms: originalTerms(predictionType, fround(sqrt(alpha)), fround(sqrt(beta)), clip),
          bound: clip ? range : undefined,
        },
        {
          // Formula (7) of the paper.
          name: 'next',
          terms: [
            [(fround(sqrt(alphaPrevious)) * currentBeta) / beta, 'original'],
            [(fround(sqrt(currentAlpha)) * betaPrevious) / beta, 'sample'],
            [timestep > 0 ? deviation : 0, 'noise'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return alphaNoiseLevel(at(this.#alphas, timestep))
  }
}
