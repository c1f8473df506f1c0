/**
 * EulerDiscreteScheduler: Euler's method on the probability flow ODE in terms of sigma (Karras et al. 2022, arXiv 2206.00364,
 * algorithm 2 without churn). Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { InputError } from '../../errors.js'
import { anyBut, choice, flag, optionalNumber, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprodForSigmas, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, linspace, logFloat32 } from '../numpy.js'
import {
  checkSigmaSchedule,
  convertSigmas,
  initialSigma,
  sigmaInputScale,
  sigmaOriginalTerms,
  sigmaToTimestep,
} from '../sigma-schedules.js'
import { spaceTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EulerDiscreteScheduler'
const spec = {
  ...trainingKeys(),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'original_sample', 'v_prediction']),
  interpolation_type: choice('linear', ['linear', 'log_linear']),
  ...sigmaKeys,
  sigma_min: optionalNumber(0),
  sigma_max: optionalNumber(0),
  ...spacingKeys('linspace'),
  timestep_type: anyBut('discrete', ['continuous']),
  rescale_betas_zero_snr: flag(false),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
}

const { fround } = Math

/** diffusers' EulerDiscreteScheduler. */
export class EulerDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(this.config))
  }

  override get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['timesteps', 'sigmas']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { config } = this
    const logSigmas = this.#trainingSigmas.map(logFloat32)
    const { timesteps, sigmas } =
      options.sigmas === undefined ? this.#spaced(steps, options, logSigmas) : this.#given(options.sigmas, logSigmas)
    const used = float32(
      config.timestep_type === 'continuous' && config.prediction_type === 'v_prediction'
        ? sigmas.slice(0, -1).map((sigma) => 0.25 * fround(Math.log(sigma)))
        : timesteps,
    )
    return { timesteps: used, sigmas }
  }

  #given(list: readonly number[], logSigmas: Float32Array) {
    const sigmas = float32(list)
    return { sigmas, timesteps: sigmas.slice(0, -1).map((sigma) => sigmaToTimestep(sigma, logSigmas)) }
  }

  #spaced(steps: number | null, options: SetTimestepsOptions, logSigmas: Float32Array) {
    const { config } = this
    const { timesteps: given } = options
    const training = this.#trainingSigmas
    const spread = config.use_karras_sigmas || config.use_exponential_sigmas || config.use_beta_sigmas
    if (given !== undefined && (spread || config.timestep_type === 'continuous'))
      throw new InputError(
        'set-timesteps',
        `${className} does not accept timesteps together with Karras, exponential or beta sigmas, or with continuous timesteps.`,
      )
    const count = this.countSteps(steps, options, config.num_train_timesteps)
    let timesteps = float32(
      given ?? spaceTimesteps(config.timestep_spacing, count, config.num_train_timesteps, config.steps_offset),
    )
    let sigmas =
      config.interpolation_type === 'linear'
        ? timesteps.map((timestep) => interpolateAt(timestep, training))
        : linspace(logSigmas.at(-1) ?? 0, logSigmas[0] ?? 0, count + 1).map((value) => fround(Math.exp(value)))
    const range = { min: config.sigma_min ?? sigmas.at(-1) ?? 0, max: config.sigma_max ?? sigmas[0] ?? 0 }
    const converted = convertSigmas(config, range, count)
    if (converted !== null) {
      sigmas = converted
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
    }
    return { timesteps, sigmas: float32([...sigmas, config.final_sigmas_type === 'zero' ? 0 : (training[0] ?? 0)]) }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const sigma = this.sigma(place)
    const { prediction_type: predictionType } = this.config
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(predictionType === 'original_sample' ? 'sample' : predictionType, sigma) },
        {
          name: 'derivative',
          terms: [
            [1 / sigma, 'sample'],
            [-1 / sigma, 'original'],
          ],
        },
        {
          name: 'next',
          terms: [
            [1, 'sample'],
            [fround(this.sigma(place + 1) - sigma), 'derivative'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
