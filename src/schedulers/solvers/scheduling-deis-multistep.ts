/**
 * DEISMultistepScheduler: diffusion exponential integrators (Zhang & Chen 2022, arXiv 2204.13902), of order 1 to 3, with the noise
 * extrapolated by polynomials in log ρ. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { InputError } from '../../errors.js'
import {
  choice,
  flag,
  integer,
  number,
  onlyWith,
  sigmaKeys,
  spacingKeys,
  trainingKeys,
  unsupportedThresholding,
} from '../config.js'
import { lastPredictions, noisePlace, predictionName, predictionTerms, schedulePoint, type SchedulePoint } from './multistep.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, logFloat32, round } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, flowSigmas, sigmaToTimestep } from '../sigma-schedules.js'
import { spaceMultistepTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'

const className = 'DEISMultistepScheduler'
const spec = {
  ...trainingKeys(),
  solver_order: integer(2, 1, 3),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction', 'flow_prediction']),
  ...unsupportedThresholding,
  // diffusers accepts the names of other solvers here, and uses this class's own solver.
  algorithm_type: choice('deis', ['deis', 'dpmsolver', 'dpmsolver++']),
  solver_type: choice('logrho', ['logrho', 'midpoint', 'heun', 'bh1', 'bh2']),
  lower_order_final: flag(true),
  ...sigmaKeys,
  use_flow_sigmas: flag(false),
  flow_shift: onlyWith('use_flow_sigmas', false, number(1, 1e-6, 1e6)),
  ...spacingKeys('linspace'),
  use_dynamic_shifting: flag(false),
  time_shift_type: onlyWith('use_dynamic_shifting', false, choice('exponential', ['exponential'])),
}

const { exp, log } = Math

/** diffusers' DEISMultistepScheduler. */
export class DEISMultistepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['mu']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { config } = this
    if (options.mu !== undefined && !config.use_dynamic_shifting)
      throw new InputError('set-timesteps', `${className} accepts mu only with use_dynamic_shifting.`)
    const trainSteps = config.num_train_timesteps
    const count = this.countSteps(steps, options, trainSteps)
    const training = this.#trainingSigmas
    let last = training[0] ?? 0
    const spacing = { trainSteps, lastTimestep: trainSteps, offset: config.steps_offset }
    let timesteps = spaceMultistepTimesteps(config.timestep_spacing, count, spacing)
    let sigmas = convertSigmas(config, { min: last, max: training.at(-1) ?? 0 }, count)
    if (sigmas !== null) {
      const logSigmas = training.map(logFloat32)
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
      if (config.use_karras_sigmas) timesteps = timesteps.map((value) => round(value))
      last = sigmas.at(-1) ?? 0
    } else if (config.use_flow_sigmas) {
      const shift = options.mu === undefined ? config.flow_shift : exp(options.mu)
      sigmas = flowSigmas(count, trainSteps, shift)
      timesteps = sigmas.map((sigma) => sigma * trainSteps)
      last = sigmas.at(-1) ?? 0
    } else sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    return { timesteps: timesteps.map((value) => Math.trunc(value)), sigmas: float32([...sigmas, last]) }
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
    const first = config.solver_order === 1 || done < 1 || (place === timesteps.length - 1 && few)
    const second = config.solver_order === 2 || done < 2 || (place === timesteps.length - 2 && few)
    const order = first ? 1 : second ? 2 : 3
    // diffusers divides by the schedule's own sigma where the model predicts the flow.
    const sigma = config.prediction_type === 'flow_prediction' ? here.scheduled : here.sigma
    return {
      sums: [
        { name: 'image', terms: predictionTerms(here, config.prediction_type, 'image') },
        {
          name: predictionName(index),
          terms: [
            [1 / sigma, 'sample'],
            [-here.alpha / sigma, 'image'],
          ],
        },
        {
          name: 'next',
          terms: [
            [next.alpha / here.alpha, 'sample'],
            ...this.#weights(here, next, order, place).map((weight, i): StepTerm => [weight, predictionName(index - i)]),
          ],
        },
      ],
      keep: lastPredictions(index, Math.min(config.solver_order - 1, done + 1)),
    }
  }

  /** The factors of the noise that the last `order` steps predicted, the newest first. */
  #weights(here: SchedulePoint, next: SchedulePoint, order: number, place: number): readonly number[] {
    if (order === 1) return [-next.sigma * (exp(next.lambda - here.lambda) - 1)]
    // In terms of x/α the equation is d(x/α)/dρ = ε: integrate the polynomial through the last predictions over ρ.
    const logs = Array.from({ length: order }, (_, i) => log(rho(this.#point(place - i))))
    return logs.map((_, i) => next.alpha * (integrateBasis(logs, i, rho(next)) - integrateBasis(logs, i, rho(here))))
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    const { alpha, sigma } = this.#point(noisePlace(this.timesteps, timestep, this.beginIndex))
    return { signal: alpha, noise: sigma }
  }
}

/** ρ = σ/α. The probability-flow ODE, written for x/α as a function of ρ, has no linear term. */
function rho(point: SchedulePoint): number {
  return point.sigma / point.alpha
}

/** The integral over t of the Lagrange polynomial in log t that is 1 at `logs[which]` and 0 at the one or two other entries of `logs`. */
function integrateBasis(logs: readonly number[], which: number, t: number): number {
  const own = logs[which] ?? 0
  const [c = 0, d] = logs.filter((_, i) => i !== which)
  const x = log(t)
  if (d === undefined) return (t * (x - c - 1)) / (own - c)
  return (t * (x * x - (c + d + 2) * x + c * d + c + d + 2)) / ((own - c) * (own - d))
}
