/**
 * DPMSolverSinglestepScheduler: DPM-Solver (arXiv 2206.00927) and DPM-Solver++ (arXiv 2211.01095) of order 1 to 3. The steps form blocks
 * of as many steps as the order, and every step of a block updates the block's first sample. Mirrors diffusers' class.
 */

import { CheckpointError, InputError } from '../../errors.js'
import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, except, flag, integer, number, onlyWith, sigmaKeys, trainingKeys, unsupportedThresholding } from '../config.js'
import { alphasCumprod, countAtLeast, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, logFloat32, round } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, flowSigmas, sigmaToTimestep } from '../sigma-schedules.js'
import { spaceMultistepTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'
import { dpmFactors, singlestepWeights, type DpmAlgorithm } from './dpm-solver.js'
import { lastPredictions, noisePlace, predictionName, predictionTerms, schedulePoint, type SchedulePoint } from './multistep.js'

const className = 'DPMSolverSinglestepScheduler'
const spec = {
  ...trainingKeys(),
  solver_order: integer(2, 1, 3),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction', 'flow_prediction']),
  ...unsupportedThresholding,
  algorithm_type: choice('dpmsolver++', ['dpmsolver', 'dpmsolver++', 'sde-dpmsolver++', 'deis']),
  solver_type: choice('midpoint', ['midpoint', 'heun', 'logrho', 'bh1', 'bh2']),
  lower_order_final: flag(false),
  ...sigmaKeys,
  use_flow_sigmas: flag(false),
  flow_shift: onlyWith('use_flow_sigmas', false, number(1, 1e-6, 1e6)),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
  lambda_min_clipped: number(-Infinity, -Infinity, 1e9),
  variance_type: except('learned', 'learned_range'),
  use_dynamic_shifting: flag(false),
  time_shift_type: onlyWith('use_dynamic_shifting', false, choice('exponential', ['exponential'])),
}

const { exp } = Math

/** diffusers' DPMSolverSinglestepScheduler. */
export class DPMSolverSinglestepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array
  /** The number of training timesteps whose λ is at least `lambda_min_clipped`. */
  readonly #lastTimestep: number
  readonly #algorithm: DpmAlgorithm
  /** The order of each step of the run. */
  #orders: readonly number[] = []

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    const { config: read } = this
    // diffusers accepts `deis` here, and replaces it with `dpmsolver++`.
    this.#algorithm = read.algorithm_type === 'deis' ? 'dpmsolver++' : read.algorithm_type
    checkSigmaSchedule(className, read)
    if (this.#algorithm === 'dpmsolver' && (read.final_sigmas_type === 'zero' || read.prediction_type === 'flow_prediction'))
      throw new CheckpointError(
        'invalid-config',
        `algorithm_type dpmsolver of ${className} works neither with final_sigmas_type zero nor with prediction_type flow_prediction.`,
        { className },
      )
    const alphas = alphasCumprod(read)
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
    const trainSteps = config.num_train_timesteps
    const count = this.countSteps(steps, options, trainSteps)
    const training = this.#trainingSigmas
    const range = { min: training[0] ?? 0, max: training.at(-1) ?? 0 }
    const spacing = { trainSteps, lastTimestep: this.#lastTimestep, offset: 0 }
    let timesteps: readonly number[] = options.timesteps ?? spaceMultistepTimesteps('linspace', count, spacing)
    let sigmas = convertSigmas(config, range, count)
    if (sigmas !== null) {
      if (options.timesteps !== undefined)
        throw new InputError(
          'set-timesteps',
          `${className} does not accept timesteps together with Karras, exponential or beta sigmas.`,
        )
      const logSigmas = training.map(logFloat32)
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
      if (config.use_karras_sigmas) timesteps = timesteps.map((value) => round(value))
    } else if (config.use_flow_sigmas) {
      sigmas = flowSigmas(count, trainSteps, options.mu === undefined ? config.flow_shift : exp(options.mu))
      timesteps = sigmas.map((sigma) => sigma * trainSteps)
    } else sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    this.#orders = this.#orderList(count)
    return {
      timesteps: timesteps.map((value) => Math.trunc(value)),
      sigmas: float32([...sigmas, config.final_sigmas_type === 'zero' ? 0 : range.min]),
    }
  }

  /**
   * diffusers' `get_order_list`: blocks of rising order. The last step has order 1 if σ ends at 0, or if `lower_order_final` is true and
   * the run ends with a whole block.
   */
  #orderList(steps: number): readonly number[] {
    const { solver_order: order, final_sigmas_type: final } = this.config
    const blocks = Array.from({ length: steps }, (_, i) => (i % order) + 1)
    const lower = final === 'zero' || (this.config.lower_order_final && steps % order === 0)
    return lower ? [...blocks.slice(0, -1), 1] : blocks
  }

  #point(place: number): SchedulePoint {
    return schedulePoint(this.sigma(place), this.config.use_flow_sigmas)
  }

  plan(index: number): StepPlan {
    const { config } = this
    const place = this.place(index)
    const done = this.stepsBefore(index)
    const order = Math.min(this.#orders[place] ?? 1, done + 1)
    const next = this.#point(place + 1)
    const points = Array.from({ length: order }, (_, i) => this.#point(place - i))
    const midpoint = config.solver_type !== 'heun'
    const factors = dpmFactors(this.#algorithm, points.at(-1) ?? next, next, order === 3 || !midpoint)
    const weights = singlestepWeights(factors, next, points, midpoint)
    const wanted = this.#algorithm.endsWith('++') ? 'image' : 'noise'
    return {
      sums: [
        { name: predictionName(index), terms: predictionTerms(this.#point(place), config.prediction_type, wanted) },
        ...(order === 1 ? [{ name: 'start', terms: [[1, 'sample']] } as const] : []),
        {
          name: 'next',
          terms: [
            [factors.sample, 'start'],
            ...weights.map((weight, i): StepTerm => [weight, predictionName(index - i)]),
            [factors.noise, 'noise'],
          ],
        },
      ],
      keep: config.solver_order === 1 ? [] : ['start', ...lastPredictions(index, Math.min(config.solver_order - 1, done + 1))],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    const { alpha, sigma } = this.#point(noisePlace(this.timesteps, timestep, this.beginIndex))
    return { signal: alpha, noise: sigma }
  }
}
