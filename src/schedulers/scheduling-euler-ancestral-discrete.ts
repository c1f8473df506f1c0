/**
 * EulerAncestralDiscreteScheduler: Euler's method with fresh noise after each step (Crowson's k-diffusion, `sample_euler_ancestral`).
 * Mirrors diffusers' class.
 */

import { InputError } from '../errors.js'
import { flag, integer, number, optionalNumbers, readConfig, word, type ConfigOf } from './config.js'
import { alphasCumprodForSigmas, trainingSigmas } from './noise-schedule.js'
import { float32, interpolateAt } from './numpy.js'
import { checkOptions, checkSteps, indexForTimestep, spaceTimesteps } from './timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepOptions } from './types.js'

const className = 'EulerAncestralDiscreteScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  beta_start: number(0.0001, 0, 1),
  beta_end: number(0.02, 0, 1),
  beta_schedule: word('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2']),
  trained_betas: optionalNumbers(100_000),
  prediction_type: word('epsilon', ['epsilon', 'v_prediction']),
  timestep_spacing: word('linspace', ['linspace', 'leading', 'trailing']),
  steps_offset: integer(0, 0, 1000),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' EulerAncestralDiscreteScheduler. */
export class EulerAncestralDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  #stepIndex: number | null = null
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(this.config))
  }

  get initNoiseSigma(): number {
    const max = Math.max(...this.sigmas)
    return this.config.timestep_spacing === 'leading' ? fround(sqrt(fround(fround(max * max) + 1))) : max
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { num_train_timesteps: trainSteps, timestep_spacing: spacing, steps_offset: offset } = this.config
    checkOptions(className, numInferenceSteps, options, [])
    checkSteps(numInferenceSteps, trainSteps)
    this.timesteps = float32(spaceTimesteps(spacing, numInferenceSteps, trainSteps, offset))
    this.sigmas = float32([...this.timesteps.map((timestep) => interpolateAt(timestep, this.#trainingSigmas)), 0])
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

  step(
    modelOutput: Float32Array,
    timestep: number,
    sample: Float32Array,
    { noise }: StepOptions = {},
  ): Float32Array<ArrayBuffer> {
    if (noise === undefined) throw new InputError('noise', `${className} needs a source of noise.`)
    const index = this.#index(timestep)
    const from = this.sigmas[index] ?? 0
    const to = this.sigmas[index + 1] ?? 0
    const up = fround(sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2))
    const down = fround(sqrt(to ** 2 - up ** 2))
    const variance = fround(fround(from * from) + 1)
    const outScale = fround(-from / fround(sqrt(variance)))
    const epsilon = this.config.prediction_type === 'epsilon'
    const drawn = noise.randn(sample.length)
    const result = new Float32Array(sample.length)
    const dt = fround(down - from)
    // Rounded after each operation, as torch does: at sigmas of 10^4 the rounding is what is left of the image.
    for (let i = 0; i < result.length; i++) {
      const x = sample[i] ?? 0
      const output = modelOutput[i] ?? 0
      const original = epsilon ? fround(x - fround(from * output)) : fround(fround(output * outScale) + fround(x / variance))
      const deterministic = fround(x + fround(fround(fround(x - original) / from) * dt))
      result[i] = deterministic + fround((drawn[i] ?? 0) * up)
    }
    this.#stepIndex = index + 1
    return result
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex === null ? indexForTimestep(this.timesteps, timestep) : (this.#stepIndex ?? this.#beginIndex)
    const sigma = this.sigmas[index] ?? 0
    return Float32Array.from(original, (value, i) => value + (noise[i] ?? 0) * sigma)
  }
}
