/**
 * DPMSolverMultistepScheduler: DPM-Solver (arXiv 2206.00927) and DPM-Solver++ (arXiv 2211.01095), deterministic and stochastic, of order
 * 1 to 3. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { CheckpointError, InputError, UnsupportedError } from '../../errors.js'
import {
  choice,
  except,
  flag,
  integer,
  number,
  onlyWith,
  sigmaKeys,
  spacingKeys,
  trainingKeys,
  unsupportedThresholding,
} from '../config.js'
import { multistepPlan, type DpmAlgorithm } from './dpm-solver.js'
import { noisePlace, predictionTerms, schedulePoint, type SchedulePoint } from './multistep.js'
import { alphasCumprodForSigmas, countAtLeast, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, linspace, logFloat32, round } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, flowSigmas, sigmaToTimestep } from '../sigma-schedules.js'
import { spaceMultistepTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'DPMSolverMultistepScheduler'
const spec = {
  ...trainingKeys(),
  solver_order: integer(2, 1, 3),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction', 'flow_prediction']),
  ...unsupportedThresholding,
  algorithm_type: choice('dpmsolver++', ['dpmsolver', 'dpmsolver++', 'sde-dpmsolver', 'sde-dpmsolver++', 'deis']),
  solver_type: choice('midpoint', ['midpoint', 'heun', 'logrho', 'bh1', 'bh2']),
  lower_order_final: flag(true),
  euler_at_final: flag(false),
  ...sigmaKeys,
  use_lu_lambdas: flag(false),
  use_flow_sigmas: flag(false),
  flow_shift: onlyWith('use_flow_sigmas', false, number(1, 1e-6, 1e6)),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
  lambda_min_clipped: number(-Infinity, -Infinity, 1e9),
  // Other values come from configs of DDPMScheduler, and have no effect in this class.
  variance_type: except('learned', 'learned_range'),
  ...spacingKeys('linspace'),
  rescale_betas_zero_snr: flag(false),
  use_dynamic_shifting: flag(false),
  time_shift_type: onlyWith('use_dynamic_shifting', false, choice('exponential', ['exponential'])),
}

const { exp } = Math

/** diffusers' DPMSolverMultistepScheduler. */
export class DPMSolverMultistepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array
  /** The number of training timesteps whose λ is at least `lambda_min_clipped`. */
  readonly #lastTimestep: number
  readonly #algorithm: DpmAlgorithm

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    const { config: read } = this
    // diffusers accepts `deis` here, and replaces it with `dpmsolver++`.
    this.#algorithm = read.algorithm_type === 'deis' ? 'dpmsolver++' : read.algorithm_type
    checkSigmaSchedule(className, this.config)
    if (!this.#algorithm.endsWith('++') && read.final_sigmas_type === 'zero')
      throw new CheckpointError(
        'invalid-config',
        `final_sigmas_type zero does not work with algorithm_type ${read.algorithm_type}.`,
        { className },
      )
    if (!this.#algorithm.endsWith('++') && read.prediction_type === 'flow_prediction')
      throw new CheckpointError(
        'invalid-config',
        `prediction_type flow_prediction does not work with algorithm_type ${read.algorithm_type}.`,
        {
          className,
        },
      )
    if (this.#algorithm === 'sde-dpmsolver' && read.solver_order === 3)
      throw new UnsupportedError('unsupported-config', 'algorithm_type sde-dpmsolver has no third order.', {
        className,
        key: 'solver_order',
      })
    const alphas = alphasCumprodForSigmas(read)
    this.#trainingSigmas = trainingSigmas(alphas)
    this.#lastTimestep = countAtLeast(alphas, read.lambda_min_clipped)
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['timesteps', 'mu']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { config } = this
    if (options.mu !== undefined && !config.use_dynamic_shifting)
      throw new InputError('set-timesteps', `${className} accepts mu only with use_dynamic_shifting.`)
    const count = this.countSteps(steps, options, config.num_train_timesteps)
    const training = this.#trainingSigmas
    const logSigmas = training.map(logFloat32)
    const range = { min: training[0] ?? 0, max: training.at(-1) ?? 0 }
    let timesteps: readonly number[] =
      options.timesteps ??
      spaceMultistepTimesteps(config.timestep_spacing, count, {
        trainSteps: config.num_train_timesteps,
        lastTimestep: this.#lastTimestep,
        offset: config.steps_offset,
      })
    // If a config chooses two sigma schedules, Karras' takes precedence over Lu's, and Lu's over the others.
    const hasLuSigmas = config.use_lu_lambdas && !config.use_karras_sigmas
    let sigmas = hasLuSigmas
      ? linspace(logSigmas.at(-1) ?? 0, logSigmas[0] ?? 0, count).map((value) => exp(value))
      : convertSigmas(config, range, count)
    if (sigmas !== null) {
      if (options.timesteps !== undefined)
        throw new InputError(
          'set-timesteps',
          `${className} does not accept timesteps together with Karras, exponential, beta or Lu sigmas.`,
        )
      const rounded = (config.use_karras_sigmas || config.use_lu_lambdas) && config.beta_schedule !== 'squaredcos_cap_v2'
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas)).map((value) => (rounded ? round(value) : value))
    } else if (config.use_flow_sigmas) {
      const shift = options.mu === undefined ? config.flow_shift : exp(options.mu)
      sigmas = flowSigmas(count, config.num_train_timesteps, shift)
      timesteps = sigmas.map((sigma) => sigma * config.num_train_timesteps)
    } else sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    return {
      timesteps: timesteps.map((value) => Math.trunc(value)),
      sigmas: float32([...sigmas, config.final_sigmas_type === 'zero' ? 0 : range.min]),
    }
  }

  #point(index: number): SchedulePoint {
    return schedulePoint(this.sigmas[index] ?? 0, this.config.use_flow_sigmas)
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const wanted = this.#algorithm.endsWith('++') ? 'image' : 'noise'
    return multistepPlan({
      config: this.config,
      algorithm: this.#algorithm,
      index,
      place,
      before: this.stepsBefore(index),
      steps: this.timesteps.length,
      point: (at) => this.#point(at),
      prediction: predictionTerms(this.#point(place), this.config.prediction_type, wanted),
    })
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    const { alpha, sigma } = this.#point(noisePlace(this.timesteps, timestep, this.beginIndex))
    return { signal: alpha, noise: sigma }
  }
}
