/**
 * EulerDiscreteScheduler: Euler's method on the probability flow ODE in terms of sigma (Karras et al. 2022, arXiv 2206.00364,
 * algorithm 2 without churn). Mirrors diffusers' class.
 */

import { InputError } from '../../errors.js'
import { choice, flag, optionalNumber, readConfig, sigmaKeys, spacingKeys, trainingKeys, type ConfigOf } from '../config.js'
import { alphasCumprodForSigmas, mixNoise, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, linspace } from '../numpy.js'
import {
  checkSigmaSchedule,
  convertSigmas,
  initialSigma,
  sigmaInputScale,
  sigmaOriginalTerms,
  sigmaToTimestep,
} from '../sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, spaceTimesteps, stepIndex } from '../timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EulerDiscreteScheduler'
const spec = {
  ...trainingKeys(),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'original_sample', 'v_prediction']),
  interpolation_type: choice('linear', ['linear', 'log_linear']),
  ...sigmaKeys,
  sigma_min: optionalNumber(0),
  sigma_max: optionalNumber(0),
  ...spacingKeys('linspace'),
  timestep_type: choice('discrete', ['discrete', 'continuous']),
  rescale_betas_zero_snr: flag(false),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
}

const { fround } = Math

/** diffusers' EulerDiscreteScheduler. */
export class EulerDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  /** One more than `timesteps`; the last one is where the run ends. */
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(this.config))
  }

  get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { config } = this
    checkOptions(className, numInferenceSteps, options, ['timesteps', 'sigmas'])
    const logSigmas = this.#trainingSigmas.map((sigma) => Math.log(sigma))
    let schedule: { timesteps: readonly number[]; sigmas: readonly number[] }
    if (options.sigmas !== undefined) {
      const sigmas = float32(options.sigmas)
      schedule = { sigmas, timesteps: sigmas.slice(0, -1).map((sigma) => sigmaToTimestep(sigma, logSigmas)) }
    } else schedule = this.#schedule(numInferenceSteps, options.timesteps, logSigmas)
    this.sigmas = schedule.sigmas
    this.timesteps = float32(
      config.timestep_type === 'continuous' && config.prediction_type === 'v_prediction'
        ? schedule.sigmas.slice(0, -1).map((sigma) => 0.25 * fround(Math.log(sigma)))
        : schedule.timesteps,
    )
    this.#beginIndex = null
  }

  #schedule(steps: number | null, given: readonly number[] | undefined, logSigmas: Float32Array) {
    const { config } = this
    const training = this.#trainingSigmas
    const spread = config.use_karras_sigmas || config.use_exponential_sigmas || config.use_beta_sigmas
    if (given !== undefined && (spread || config.timestep_type === 'continuous'))
      throw new InputError(
        'set-timesteps',
        `${className} does not accept timesteps together with Karras, exponential or beta sigmas, or with continuous timesteps.`,
      )
    const numInferenceSteps = given?.length ?? steps
    checkSteps(numInferenceSteps, config.num_train_timesteps)
    let timesteps = float32(
      given ?? spaceTimesteps(config.timestep_spacing, numInferenceSteps, config.num_train_timesteps, config.steps_offset),
    )
    let sigmas =
      config.interpolation_type === 'linear'
        ? timesteps.map((timestep) => interpolateAt(timestep, training))
        : linspace(logSigmas.at(-1) ?? 0, logSigmas[0] ?? 0, numInferenceSteps + 1).map((value) => fround(Math.exp(value)))
    const range = { min: config.sigma_min ?? sigmas.at(-1) ?? 0, max: config.sigma_max ?? sigmas[0] ?? 0 }
    const converted = convertSigmas(config, range, numInferenceSteps)
    if (converted !== null) {
      sigmas = converted
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
    }
    return { timesteps, sigmas: float32([...sigmas, config.final_sigmas_type === 'zero' ? 0 : (training[0] ?? 0)]) }
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  inputScale(index: number): number {
    return sigmaInputScale(this.sigmas[stepIndex(this.timesteps, index, this.#beginIndex)] ?? 0)
  }

  plan(index: number): StepPlan {
    const place = stepIndex(this.timesteps, index, this.#beginIndex)
    const sigma = this.sigmas[place] ?? 0
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
            [fround((this.sigmas[place + 1] ?? 0) - sigma), 'derivative'],
          ],
        },
      ],
    }
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex ?? indexForTimestep(this.timesteps, timestep)
    return mixNoise(original, noise, 1, this.sigmas[index] ?? 0)
  }
}
