/** UniPCMultistepScheduler: unified predictor-corrector (Zhao et al. 2023, arXiv 2302.04867). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { CheckpointError, InputError } from '../../errors.js'
import {
  choice,
  flag,
  integer,
  number,
  only,
  onlyWith,
  optionalNumber,
  optionalNumbers,
  type Reader,
  sigmaKeys,
  spacingKeys,
  trainingKeys,
  unsupportedThresholding,
} from '../config.js'
import { lastPredictions, noisePlace, predictionName, predictionTerms, schedulePoint, type SchedulePoint } from './multistep.js'
import { alphasCumprodForSigmas, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt, linspace, logFloat32, round } from '../numpy.js'
import {
  checkSigmaSchedule,
  convertSigmas,
  shiftSigma,
  sigmaToTimestep,
  stretchToTerminal,
  timeShiftSigma,
} from '../sigma-schedules.js'
import { spaceMultistepTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'

const className = 'UniPCMultistepScheduler'
const correctorSteps: Reader<readonly number[] | null> = (value, key) =>
  Array.isArray(value) && value.length === 0 ? null : optionalNumbers(100_000)(value, key)
const spec = {
  ...trainingKeys(),
  solver_order: integer(2, 1, 6),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction', 'flow_prediction']),
  ...unsupportedThresholding,
  predict_x0: flag(true),
  solver_type: choice('bh2', ['bh1', 'bh2', 'midpoint', 'heun', 'logrho']),
  lower_order_final: flag(true),
  disable_corrector: correctorSteps,
  solver_p: only(null),
  ...sigmaKeys,
  use_flow_sigmas: flag(false),
  flow_shift: onlyWith('use_flow_sigmas', false, number(1, 1e-6, 1e6)),
  ...spacingKeys('linspace'),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
  rescale_betas_zero_snr: flag(false),
  use_dynamic_shifting: flag(false),
  time_shift_type: onlyWith('use_dynamic_shifting', false, choice('exponential', ['exponential', 'linear'])),
  sigma_min: optionalNumber(0),
  sigma_max: optionalNumber(0),
  shift_terminal: optionalNumber(0, 0.999999),
}

const { expm1 } = Math

/** diffusers' UniPCMultistepScheduler. */
export class UniPCMultistepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    const { config: read } = this
    checkSigmaSchedule(className, this.config)
    if (read.shift_terminal !== null && !read.use_flow_sigmas)
      throw new CheckpointError('invalid-config', 'shift_terminal works only with use_flow_sigmas.', { className })
    if (!read.predict_x0 && read.prediction_type === 'flow_prediction')
      throw new CheckpointError('invalid-config', 'prediction_type flow_prediction works only with predict_x0.', { className })
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(read))
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    const {
      use_flow_sigmas: flow,
      use_karras_sigmas: karras,
      use_exponential_sigmas: exponential,
      use_beta_sigmas: beta,
    } = this.config
    // With given sigmas, diffusers' Karras, exponential and beta schedules would rise instead of fall.
    return flow && !karras && !exponential && !beta ? ['sigmas', 'mu'] : ['mu']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { config } = this
    if (config.use_dynamic_shifting && options.mu === undefined)
      throw new InputError('set-timesteps', `${className} with use_dynamic_shifting needs mu.`)
    const trainSteps = config.num_train_timesteps
    const count = this.countSteps(steps, options, trainSteps)
    const training = this.#trainingSigmas
    const spacing = { trainSteps, lastTimestep: trainSteps, offset: config.steps_offset }
    let timesteps = spaceMultistepTimesteps(config.timestep_spacing, count, spacing)
    let last = training[0] ?? 0
    const range = { min: config.sigma_min ?? last, max: config.sigma_max ?? training.at(-1) ?? 0 }
    let sigmas = convertSigmas(config, range, count)
    if (sigmas !== null) {
      if (config.use_flow_sigmas && config.use_karras_sigmas) {
        sigmas = sigmas.map((sigma) => sigma / (sigma + 1))
        timesteps = sigmas.map((sigma) => sigma * trainSteps)
      } else {
        const logSigmas = training.map(logFloat32)
        timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
        if (config.use_karras_sigmas) timesteps = timesteps.map((value) => round(value))
      }
      last = sigmas.at(-1) ?? 0
    } else if (config.use_flow_sigmas) {
      sigmas = this.#flowSigmas(options.sigmas ?? linspace(1, 1 / trainSteps, count + 1).slice(0, -1), options.mu)
      timesteps = sigmas.map((sigma) => sigma * trainSteps)
      last = sigmas.at(-1) ?? 0
    } else sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    return {
      timesteps: timesteps.map((value) => Math.trunc(value)),
      sigmas: float32([...sigmas, config.final_sigmas_type === 'zero' ? 0 : last]),
    }
  }

  #flowSigmas(given: readonly number[], mu: number | undefined): number[] {
    const { flow_shift: shift, shift_terminal: terminal, time_shift_type: kind, use_dynamic_shifting: dynamic } = this.config
    const shifted = given.map((sigma) => (dynamic ? timeShiftSigma(sigma, mu ?? 0, kind) : shiftSigma(sigma, shift)))
    const sigmas = stretchToTerminal(shifted, terminal)
    // At a sigma of 1 the logarithm of α would be infinite.
    const first = sigmas[0] ?? 0
    if (Math.abs(first - 1) < 1e-6) sigmas[0] = first - 1e-6
    return sigmas
  }

  #point(index: number): SchedulePoint {
    return schedulePoint(this.sigmas[index] ?? 0, this.config.use_flow_sigmas)
  }

  plan(index: number): StepPlan {
    const { config } = this
    const place = this.place(index)
    const done = this.stepsBefore(index)
    const wanted = config.predict_x0 ? 'image' : 'noise'
    const correct = done > 0 && place > 0 && !(config.disable_corrector ?? []).includes(place - 1)
    const from = `sample ${index}`
    return {
      sums: [
        { name: predictionName(index), terms: predictionTerms(this.#point(place), config.prediction_type, wanted) },
        {
          name: from,
          terms: correct
            ? this.#update(`sample ${index - 1}`, place, this.#order(place - 1, done - 1), index - 1, predictionName(index))
            : [[1, 'sample']],
        },
        { name: 'next', terms: this.#update(from, place + 1, this.#order(place, done), index, null) },
      ],
      keep: [from, ...lastPredictions(index, Math.min(config.solver_order, done + 1))],
    }
  }

  /** The solver's order at a position of the schedule, after `done` steps. */
  #order(place: number, done: number): number {
    const { lower_order_final: lower, solver_order: order } = this.config
    return Math.min(order, lower ? this.timesteps.length - place : order, done + 1)
  }

  /**
   * Computes the sample at position `to` from the sample at `to` − 1, with the predictions of the steps up to `index`. Without `corrected`
   * this is the predictor (UniP). If `corrected` names the prediction at `to`, this is the corrector (UniC).
   */
  #update(sample: string, to: number, order: number, index: number, corrected: string | null): readonly StepTerm[] {
    const { predict_x0: predictImage } = this.config
    const here = this.#point(to - 1)
    const next = this.#point(to)
    const h = next.lambda - here.lambda
    const rks = Array.from({ length: order - 1 }, (_, i) => (this.#point(to - 2 - i).lambda - here.lambda) / h)
    const { weights, hPhi1, bh } = this.#weights([...rks, 1], predictImage ? -h : h, corrected !== null)
    const scale = predictImage ? next.alpha : next.sigma
    const sampleScale = predictImage ? next.sigma / here.sigma : next.alpha / here.alpha

    // Each difference D is (m − m0)/r; collect the factors of m0.
    let onFirst = -scale * hPhi1
    const terms: StepTerm[] = [[sampleScale, sample]]
    const add = (weight: number, value: string) => {
      const factor = -scale * bh * weight
      terms.push([factor, value])
      onFirst -= factor
    }
    for (const [i, rk] of rks.entries()) add((weights[i] ?? 0) / rk, predictionName(index - 1 - i))
    if (corrected !== null) add(weights.at(-1) ?? 0, corrected)
    terms.push([onFirst, predictionName(index)])
    return terms
  }

  /** The weights ρ of the differences: Σ ρ r^(i−1) = b_i. */
  #weights(rks: readonly number[], hh: number, correcting: boolean): { weights: readonly number[]; hPhi1: number; bh: number } {
    const order = rks.length
    const hPhi1 = expm1(hh)
    // diffusers treats the solver types of other classes as bh2.
    const bh = this.config.solver_type === 'bh1' ? hh : hPhi1
    let hPhiK = hPhi1 / hh - 1
    let factorial = 1
    const matrix: number[][] = []
    const right: number[] = []
    for (let i = 1; i <= order; i++) {
      matrix.push(rks.map((rk) => rk ** (i - 1)))
      right.push((hPhiK * factorial) / bh)
      factorial *= i + 1
      hPhiK = hPhiK / hh - 1 / factorial
    }
    if (correcting) return { weights: order === 1 ? [0.5] : solve(matrix, right), hPhi1, bh }
    if (order === 1) return { weights: [], hPhi1, bh }
    const smaller = matrix.slice(0, -1).map((row) => row.slice(0, -1))
    return { weights: order === 2 ? [0.5] : solve(smaller, right.slice(0, -1)), hPhi1, bh }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    const { alpha, sigma } = this.#point(noisePlace(this.timesteps, timestep, this.beginIndex))
    return { signal: alpha, noise: sigma }
  }
}

/** Solves a small linear system by Gaussian elimination with partial pivoting. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i] ?? 0])
  const size = rows.length
  const value = (row: number, column: number) => rows[row]?.[column] ?? 0
  for (let column = 0; column < size; column++) {
    let pivot = column
    for (let row = column + 1; row < size; row++) if (Math.abs(value(row, column)) > Math.abs(value(pivot, column))) pivot = row
    ;[rows[column], rows[pivot]] = [rows[pivot] ?? [], rows[column] ?? []]
    for (let row = column + 1; row < size; row++) {
      const factor = value(row, column) / value(column, column)
      rows[row] = (rows[row] ?? []).map((entry, i) => entry - factor * value(column, i))
    }
  }
  const result = Array.from({ length: size }, () => 0)
  for (let row = size - 1; row >= 0; row--) {
    let sum = value(row, size)
    for (let column = row + 1; column < size; column++) sum -= value(row, column) * (result[column] ?? 0)
    result[row] = sum / value(row, row)
  }
  return result
}
