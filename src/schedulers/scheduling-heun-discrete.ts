/**
 * HeunDiscreteScheduler: Heun's second-order method (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn): two model calls
 * per step, except for the last. Mirrors diffusers' class.
 */

import { CheckpointError, InputError } from '../errors.js'
import { flag, integer, number, optionalNumbers, readConfig, word, type ConfigOf } from './config.js'
import { alphasCumprod, trainingSigmas } from './noise-schedule.js'
import { float32, interpolateAt } from './numpy.js'
import { convertSigmas, sigmaToTimestep } from './sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, spaceTimesteps } from './timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions } from './types.js'

const className = 'HeunDiscreteScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  beta_start: number(0.00085, 0, 1),
  beta_end: number(0.012, 0, 1),
  beta_schedule: word('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'exp']),
  trained_betas: optionalNumbers(100_000),
  prediction_type: word('epsilon', ['epsilon', 'sample', 'v_prediction']),
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: flag(false),
  clip_sample: flag(false),
  clip_sample_range: number(1, 0),
  timestep_spacing: word('linspace', ['linspace', 'leading', 'trailing']),
  steps_offset: integer(0, 0, 1000),
}

const { fround, sqrt } = Math

/** What the first half of a step leaves for the second. */
interface FirstOrder {
  readonly derivative: Float32Array
  readonly dt: number
  readonly sample: Float32Array
}

/** The first entry once, the others twice. */
function twiceButFirst(values: readonly number[]): number[] {
  return values.flatMap((value, i) => (i === 0 ? [value] : [value, value]))
}

/** diffusers' HeunDiscreteScheduler. */
export class HeunDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 2
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  #first: FirstOrder | null = null
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

  get initNoiseSigma(): number {
    const max = Math.max(...this.sigmas)
    return this.config.timestep_spacing === 'leading' ? fround(sqrt(fround(fround(max * max) + 1))) : max
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { config } = this
    checkOptions(className, numInferenceSteps, options, ['timesteps'])
    const count = options.timesteps?.length ?? numInferenceSteps
    checkSteps(count, config.num_train_timesteps)
    const training = this.#trainingSigmas
    let timesteps = float32(
      options.timesteps ?? spaceTimesteps(config.timestep_spacing, count, config.num_train_timesteps, config.steps_offset),
    )
    let sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    const converted = convertSigmas(config, { min: sigmas.at(-1) ?? 0, max: sigmas[0] ?? 0 }, count)
    if (converted !== null) {
      if (options.timesteps !== undefined)
        throw new InputError('set-timesteps', `${className} takes no timesteps with another spread of sigmas.`)
      const logSigmas = training.map((sigma) => Math.log(sigma))
      sigmas = converted
      timesteps = float32(sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas)))
    }
    this.sigmas = float32([...twiceButFirst(sigmas), 0])
    this.timesteps = twiceButFirst(timesteps)
    this.#first = null
    this.#stepIndex = null
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  #index(timestep: number): number {
    this.#stepIndex ??= this.#beginIndex ?? indexForTimestep(this.timesteps, timestep)
    return this.#stepIndex
  }

  scaleModelInput(sample: Float32Array, timestep: number): Float32Array {
    const sigma = this.sigmas[this.#index(timestep)] ?? 0
    const scale = fround(sqrt(fround(fround(sigma * sigma) + 1)))
    return sample.map((value) => value / scale)
  }

  /** The slope dx/dσ that the model's output stands for. */
  #derivative(modelOutput: Float32Array, sample: Float32Array, sigma: number): Float32Array {
    const { prediction_type: predictionType, clip_sample: clip, clip_sample_range: range } = this.config
    const variance = fround(fround(sigma * sigma) + 1)
    const outScale = fround(-sigma / fround(sqrt(variance)))
    // Rounded after each operation, as torch does: at sigmas of 10^4 the rounding is what is left of the image.
    return Float32Array.from(sample, (x, i) => {
      const output = modelOutput[i] ?? 0
      let original = output
      if (predictionType === 'epsilon') original = fround(x - fround(sigma * output))
      else if (predictionType === 'v_prediction') original = fround(fround(output * outScale) + fround(x / variance))
      if (clip) original = Math.min(range, Math.max(-range, original))
      return fround(x - original) / sigma
    })
  }

  step(modelOutput: Float32Array, timestep: number, sample: Float32Array): Float32Array<ArrayBuffer> {
    const index = this.#index(timestep)
    const sigma = this.sigmas[index] ?? 0
    const derivative = this.#derivative(modelOutput, sample, sigma)
    this.#stepIndex = index + 1
    const first = this.#first
    if (first !== null) {
      this.#first = null
      return Float32Array.from(first.sample, (x, i) => {
        const mean = fround(fround((first.derivative[i] ?? 0) + (derivative[i] ?? 0)) / 2)
        return x + fround(mean * first.dt)
      })
    }
    const dt = fround((this.sigmas[index + 1] ?? 0) - sigma)
    this.#first = { derivative, dt, sample }
    return Float32Array.from(sample, (x, i) => x + fround((derivative[i] ?? 0) * dt))
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex === null ? indexForTimestep(this.timesteps, timestep) : (this.#stepIndex ?? this.#beginIndex)
    const sigma = this.sigmas[index] ?? 0
    return Float32Array.from(original, (value, i) => value + (noise[i] ?? 0) * sigma)
  }
}
