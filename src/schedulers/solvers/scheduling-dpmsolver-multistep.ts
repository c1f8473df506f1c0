/**
 * DPMSolverMultistepScheduler: DPM-Solver (arXiv 2206.00927) and DPM-Solver++ (arXiv 2211.01095), deterministic and stochastic, of order
 * 1 to 3. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { CheckpointError, InputError, UnsupportedError } from '../../errors.js'
import { choice, flag, integer, number, only, sigmaKeys, spacingKeys, trainingKeys, unsupportedThresholding } from '../config.js'
import { lastPredictions, noisePlace, predictionName, predictionTerms, schedulePoint, type SchedulePoint } from './multistep.js'
import { alphasCumprodForSigmas, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, linspace, round } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, flowSigmas, sigmaToTimestep } from '../sigma-schedules.js'
import { spaceMultistepTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'

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
  flow_shift: number(1, 1e-6, 1e6),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
  lambda_min_clipped: number(-Infinity, -Infinity, 1e9),
  variance_type: only(null),
  ...spacingKeys('linspace'),
  rescale_betas_zero_snr: flag(false),
  use_dynamic_shifting: flag(false),
  time_shift_type: choice('exponential', ['exponential']),
}

const { exp, sqrt } = Math

/** The factors of one update: of the sample, of the divided differences D0, D1, D2 of the predictions, and of the noise. */
interface Factors {
  readonly sample: number
  readonly d: readonly [number, number, number]
  readonly noise: number
}

/** diffusers' DPMSolverMultistepScheduler. */
export class DPMSolverMultistepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array
  /** The number of training timesteps whose λ is at least `lambda_min_clipped`. */
  readonly #lastTimestep: number
  readonly #algorithm: 'dpmsolver' | 'dpmsolver++' | 'sde-dpmsolver' | 'sde-dpmsolver++'

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    const { config: read } = this
    // diffusers accepts the name of DEIS here, and uses this class's own algorithm.
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
    const lambdas = alphas.map(
      (alpha) => Math.fround(Math.log(Math.fround(sqrt(alpha)))) - Math.fround(Math.log(Math.fround(sqrt(1 - alpha)))),
    )
    this.#lastTimestep = lambdas.filter((lambda) => lambda >= read.lambda_min_clipped).length
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
    const logSigmas = training.map((sigma) => Math.log(sigma))
    const range = { min: training[0] ?? 0, max: training.at(-1) ?? 0 }
    let timesteps: readonly number[] =
      options.timesteps ??
      spaceMultistepTimesteps(config.timestep_spacing, count, {
        trainSteps: config.num_train_timesteps,
        lastTimestep: this.#lastTimestep,
        offset: config.steps_offset,
      })
    let sigmas = convertSigmas(config, range, count)
    if (sigmas === null && config.use_lu_lambdas)
      sigmas = linspace(logSigmas.at(-1) ?? 0, logSigmas[0] ?? 0, count).map((value) => exp(value))
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
    const { config, timesteps } = this
    const place = this.place(index)
    const here = this.#point(place)
    const next = this.#point(place + 1)
    const done = Math.min(config.solver_order, this.stepsBefore(index))
    const few = config.lower_order_final && timesteps.length < 15
    const firstAtEnd = place === timesteps.length - 1 && (config.euler_at_final || few || config.final_sigmas_type === 'zero')
    const secondAtEnd = place === timesteps.length - 2 && few
    const order =
      config.solver_order === 1 || done < 1 || firstAtEnd ? 1 : config.solver_order === 2 || done < 2 || secondAtEnd ? 2 : 3

    const wanted = this.#algorithm.endsWith('++') ? 'image' : 'noise'
    const factors = this.#factors(here, next, order)
    return {
      sums: [
        { name: predictionName(index), terms: predictionTerms(here, config.prediction_type, wanted) },
        {
          name: 'next',
          terms: [
            [factors.sample, 'sample'],
            ...this.#differences(factors, order, place, next).map((factor, i): StepTerm => [factor, predictionName(index - i)]),
            [this.#algorithm.startsWith('sde') ? factors.noise : 0, 'noise'],
          ],
        },
      ],
      keep: lastPredictions(index, Math.min(config.solver_order - 1, done + 1)),
    }
  }

  #factors(here: SchedulePoint, next: SchedulePoint, order: number): Factors {
    const h = next.lambda - here.lambda
    // The second-order midpoint solver uses half of D0's factor for D1. Heun's solver and the third order integrate D1 exactly.
    const exact = order === 3 || this.config.solver_type === 'heun'
    switch (this.#algorithm) {
      case 'dpmsolver++': {
        const phi = exp(-h) - 1
        const d0 = -next.alpha * phi
        return {
          sample: next.sigma / here.sigma,
          d: [d0, exact ? next.alpha * (phi / h + 1) : 0.5 * d0, -next.alpha * ((phi + h) / h ** 2 - 0.5)],
          noise: 0,
        }
      }
      case 'dpmsolver': {
        const phi = exp(h) - 1
        const d0 = -next.sigma * phi
        return {
          sample: next.alpha / here.alpha,
          d: [d0, exact ? -next.sigma * (phi / h - 1) : 0.5 * d0, -next.sigma * ((phi - h) / h ** 2 - 0.5)],
          noise: 0,
        }
      }
      case 'sde-dpmsolver++': {
        const phi = 1 - exp(-2 * h)
        const d0 = next.alpha * phi
        return {
          sample: (next.sigma / here.sigma) * exp(-h),
          d: [d0, exact ? next.alpha * (phi / (-2 * h) + 1) : 0.5 * d0, next.alpha * ((phi - 2 * h) / (2 * h) ** 2 - 0.5)],
          noise: next.sigma * sqrt(phi),
        }
      }
      case 'sde-dpmsolver': {
        const phi = exp(h) - 1
        const d0 = -2 * next.sigma * phi
        return {
          sample: next.alpha / here.alpha,
          d: [d0, exact ? -2 * next.sigma * (phi / h - 1) : 0.5 * d0, 0],
          noise: next.sigma * sqrt(exp(2 * h) - 1),
        }
      }
    }
  }

  /** Converts the factors of the divided differences to factors of the predictions, the newest first. */
  #differences({ d: [d0, d1, d2] }: Factors, order: number, place: number, next: SchedulePoint): readonly number[] {
    if (order === 1) return [d0]
    const here = this.#point(place)
    const before = this.#point(place - 1)
    const h = next.lambda - here.lambda
    const r0 = (here.lambda - before.lambda) / h
    if (order === 2) return [d0 + d1 / r0, -d1 / r0]
    const r1 = (before.lambda - this.#point(place - 2).lambda) / h
    // D1 = D10 + r0/(r0+r1) (D10 − D11), D2 = (D10 − D11)/(r0+r1), with D10 = (m0 − m1)/r0 and D11 = (m1 − m2)/r1.
    const d10 = d1 * (1 + r0 / (r0 + r1)) + d2 / (r0 + r1)
    const d11 = -(d1 * r0 + d2) / (r0 + r1)
    return [d0 + d10 / r0, -d10 / r0 + d11 / r1, -d11 / r1]
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    const { alpha, sigma } = this.#point(noisePlace(this.timesteps, timestep, this.beginIndex))
    return { signal: alpha, noise: sigma }
  }
}
