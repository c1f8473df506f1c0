/**
 * DEISMultistepScheduler: diffusion exponential integrators (Zhang & Chen 2022, arXiv 2204.13902), of order 1 to 3, with the noise
 * extrapolated by polynomials in log ρ. Mirrors diffusers' class.
 */

import { CheckpointError, InputError } from '../errors.js'
import { flag, integer, number, only, optionalNumbers, readConfig, unused, word, type ConfigOf } from './config.js'
import { convertModelOutput, schedulePoint, weightedSum, type SchedulePoint } from './multistep.js'
import { alphasCumprod, trainingSigmas } from './noise-schedule.js'
import { float32, interpolateAt, linspace, round } from './numpy.js'
import { convertSigmas, sigmaToTimestep } from './sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, spaceMultistepTimesteps } from './timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions } from './types.js'

const className = 'DEISMultistepScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  beta_start: number(0.0001, 0, 1),
  beta_end: number(0.02, 0, 1),
  beta_schedule: word('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2']),
  trained_betas: optionalNumbers(100_000),
  solver_order: integer(2, 1, 3),
  prediction_type: word('epsilon', ['epsilon', 'sample', 'v_prediction', 'flow_prediction']),
  thresholding: only(false),
  dynamic_thresholding_ratio: unused,
  sample_max_value: unused,
  // diffusers reads the names of the other solvers as this class's own.
  algorithm_type: word('deis', ['deis', 'dpmsolver', 'dpmsolver++']),
  solver_type: word('logrho', ['logrho', 'midpoint', 'heun', 'bh1', 'bh2']),
  lower_order_final: flag(true),
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: flag(false),
  use_flow_sigmas: flag(false),
  flow_shift: number(1, 1e-6, 1e6),
  timestep_spacing: word('linspace', ['linspace', 'leading', 'trailing']),
  steps_offset: integer(0, 0, 1000),
  use_dynamic_shifting: flag(false),
  time_shift_type: word('exponential', ['exponential']),
}

const { exp, log } = Math

/** diffusers' DEISMultistepScheduler. */
export class DEISMultistepScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly initNoiseSigma = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  /** Predicted noise of the last steps, the newest first. */
  #predictions: Float32Array[] = []
  #stepIndex: number | null = null
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    const { use_beta_sigmas: beta, use_exponential_sigmas: exponential, use_karras_sigmas: karras } = this.config
    if (Number(beta) + Number(exponential) + Number(karras) > 1)
      throw new CheckpointError('invalid-config', `${className} can use only one of Karras, exponential and beta sigmas.`, {
        className,
      })
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { config } = this
    checkOptions(className, numInferenceSteps, options, ['mu'])
    if (options.mu !== undefined && !config.use_dynamic_shifting)
      throw new InputError('set-timesteps', `${className} takes mu only with use_dynamic_shifting.`)
    const trainSteps = config.num_train_timesteps
    checkSteps(numInferenceSteps, trainSteps)
    const training = this.#trainingSigmas
    let last = training[0] ?? 0
    const spacing = { trainSteps, lastTimestep: trainSteps, offset: config.steps_offset }
    let timesteps = spaceMultistepTimesteps(config.timestep_spacing, numInferenceSteps, spacing)
    let sigmas = convertSigmas(config, { min: last, max: training.at(-1) ?? 0 }, numInferenceSteps)
    if (sigmas !== null) {
      const logSigmas = training.map((sigma) => log(sigma))
      timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas))
      if (config.use_karras_sigmas) timesteps = timesteps.map((value) => round(value))
      last = sigmas.at(-1) ?? 0
    } else if (config.use_flow_sigmas) {
      const shift = options.mu === undefined ? config.flow_shift : exp(options.mu)
      sigmas = linspace(1, 1 / trainSteps, numInferenceSteps + 1)
        .map((alpha) => 1 - alpha)
        .map((sigma) => (shift * sigma) / (1 + (shift - 1) * sigma))
        .reverse()
        .slice(0, -1)
      timesteps = sigmas.map((sigma) => sigma * trainSteps)
      last = sigmas.at(-1) ?? 0
    } else sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    this.sigmas = float32([...sigmas, last])
    this.timesteps = timesteps.map((value) => Math.trunc(value))
    this.#predictions = []
    this.#stepIndex = null
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  scaleModelInput(sample: Float32Array): Float32Array {
    return sample
  }

  #point(index: number): SchedulePoint {
    return schedulePoint(this.sigmas[index] ?? 0, this.config.use_flow_sigmas)
  }

  #indexFor(timestep: number): number {
    const index = indexForTimestep(this.timesteps, timestep)
    return index < 0 ? this.timesteps.length - 1 : index
  }

  step(modelOutput: Float32Array, timestep: number, sample: Float32Array): Float32Array<ArrayBuffer> {
    const { config, timesteps } = this
    this.#stepIndex ??= this.#beginIndex ?? this.#indexFor(timestep)
    const index = this.#stepIndex
    const here = this.#point(index)
    const next = this.#point(index + 1)
    const image = convertModelOutput(modelOutput, sample, here, config.prediction_type, 'image')
    const noise = image.map((value, i) => ((sample[i] ?? 0) - here.alpha * value) / here.sigma)
    const done = this.#predictions.length
    this.#predictions = [noise, ...this.#predictions].slice(0, config.solver_order)
    const few = config.lower_order_final && timesteps.length < 15
    const first = config.solver_order === 1 || done < 1 || (index === timesteps.length - 1 && few)
    const second = config.solver_order === 2 || done < 2 || (index === timesteps.length - 2 && few)
    const order = first ? 1 : second ? 2 : 3
    this.#stepIndex = index + 1
    const scale = next.alpha / here.alpha
    if (order === 1) {
      const step = -next.sigma * (exp(next.lambda - here.lambda) - 1)
      return weightedSum(sample.length, [
        [scale, sample],
        [step, noise],
      ])
    }
    // In x/α the equation is d(x/α)/dρ = ε: the integral of the polynomial through the last predictions, over ρ.
    const logs = Array.from({ length: order }, (_, i) => log(rho(this.#point(index - i))))
    const weights = logs.map((_, i) => integrateBasis(logs, i, rho(next)) - integrateBasis(logs, i, rho(here)))
    const terms = weights.map((weight, i): [number, ArrayLike<number>] => [next.alpha * weight, this.#predictions[i] ?? noise])
    return weightedSum(sample.length, [[scale, sample], ...terms])
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex === null ? this.#indexFor(timestep) : (this.#stepIndex ?? this.#beginIndex)
    const { alpha, sigma } = this.#point(index)
    return weightedSum(original.length, [
      [alpha, original],
      [sigma, noise],
    ])
  }
}

/** ρ = σ/α, the time in which the equation has no linear part. */
function rho(point: SchedulePoint): number {
  return point.sigma / point.alpha
}

/** ∫ over t of the Lagrange polynomial in log t that is 1 at `logs[which]` and 0 at the other one or two. */
function integrateBasis(logs: readonly number[], which: number, t: number): number {
  const own = logs[which] ?? 0
  const [c = 0, d] = logs.filter((_, i) => i !== which)
  const x = log(t)
  if (d === undefined) return (t * (x - c - 1)) / (own - c)
  return (t * (x * x - (c + d + 2) * x + c * d + c + d + 2)) / ((own - c) * (own - d))
}
