/**
 * PNDMScheduler: pseudo numerical methods for diffusion models (Liu et al. 2022, arXiv 2202.09778), with Runge–Kutta steps first or,
 * with `skip_prk_steps`, linear multistep (PLMS) from the start. Mirrors diffusers' class.
 */

import { InputError } from '../errors.js'
import { flag, integer, number, optionalNumbers, readConfig, word, type ConfigOf } from './config.js'
import { alphasCumprod, at } from './noise-schedule.js'
import { round } from './numpy.js'
import { checkOptions, checkSteps, spaceTimesteps } from './timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions } from './types.js'

const className = 'PNDMScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  beta_start: number(0.0001, 0, 1),
  beta_end: number(0.02, 0, 1),
  beta_schedule: word('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2']),
  trained_betas: optionalNumbers(100_000),
  skip_prk_steps: flag(false),
  set_alpha_to_one: flag(false),
  prediction_type: word('epsilon', ['epsilon', 'v_prediction']),
  timestep_spacing: word('leading', ['linspace', 'leading', 'trailing']),
  steps_offset: integer(0, 0, 1000),
}

const { fround, sqrt } = Math
const pndmOrder = 4

/** diffusers' PNDMScheduler. */
export class PNDMScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly initNoiseSigma = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  readonly #alphas: Float32Array
  readonly #finalAlpha: number
  #prkTimesteps: readonly number[] = []
  /** Training timesteps between two steps. */
  #stride = 0
  #counter = 0
  /** Model outputs so far, the last four at most. */
  #outputs: Float32Array[] = []
  #sum: Float32Array | null = null
  #sample: Float32Array | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    this.#alphas = alphasCumprod(this.config)
    this.#finalAlpha = this.config.set_alpha_to_one ? 1 : at(this.#alphas, 0)
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    checkOptions(className, numInferenceSteps, options, [])
    const {
      num_train_timesteps: trainSteps,
      timestep_spacing: spacing,
      steps_offset: offset,
      skip_prk_steps: skipPrk,
    } = this.config
    checkSteps(numInferenceSteps, trainSteps)
    if (!skipPrk && numInferenceSteps < pndmOrder)
      throw new InputError('num-inference-steps', `${className} without skip_prk_steps needs at least ${pndmOrder} steps.`, {
        numInferenceSteps,
        allowed: pndmOrder,
      })
    this.#stride = Math.floor(trainSteps / numInferenceSteps)
    const rising = spaceTimesteps(spacing, numInferenceSteps, trainSteps, offset)
      .map((value) => round(value))
      .reverse()
    if (skipPrk) {
      this.#prkTimesteps = []
      this.timesteps = [...rising.slice(0, -1), ...rising.slice(-2, -1), ...rising.slice(-1)].reverse()
    } else {
      const half = Math.floor(this.#stride / 2)
      const pairs = rising.slice(-pndmOrder).flatMap((value) => [value, value + half])
      this.#prkTimesteps = pairs
        .slice(0, -1)
        .flatMap((value) => [value, value])
        .slice(1, -1)
        .reverse()
      this.timesteps = [...this.#prkTimesteps, ...rising.slice(0, -3).reverse()]
    }
    this.#counter = 0
    this.#outputs = []
    this.#sum = null
    this.#sample = null
  }

  setBeginIndex(): void {
    // Each step finds its place by its timestep.
  }

  scaleModelInput(sample: Float32Array): Float32Array {
    return sample
  }

  step(modelOutput: Float32Array, timestep: number, sample: Float32Array): Float32Array<ArrayBuffer> {
    const result =
      this.#counter < this.#prkTimesteps.length
        ? this.#stepRungeKutta(modelOutput, timestep, sample)
        : this.#stepLinearMultistep(modelOutput, timestep, sample)
    this.#counter += 1
    return result
  }

  #stepRungeKutta(modelOutput: Float32Array, timestep: number, sample: Float32Array): Float32Array<ArrayBuffer> {
    const phase = this.#counter % 4
    const previous = timestep - (this.#counter % 2 === 0 ? Math.floor(this.#stride / 2) : 0)
    const current = this.#prkTimesteps[this.#counter - phase] ?? timestep
    if (phase === 0) {
      this.#outputs.push(modelOutput)
      this.#sample = sample
    }
    const weight = phase === 0 || phase === 3 ? 1 / 6 : 1 / 3
    const sum = this.#sum
    const total = modelOutput.map((value, i) => (sum?.[i] ?? 0) + weight * value)
    this.#sum = phase === 3 ? null : total
    return this.#previousSample(this.#sample ?? sample, current, previous, phase === 3 ? total : modelOutput)
  }

  #stepLinearMultistep(modelOutput: Float32Array, timestep: number, sample: Float32Array): Float32Array<ArrayBuffer> {
    let current = timestep
    let previous = timestep - this.#stride
    // The second call looks at the first step once more, from its other end.
    const again = this.#counter === 1
    if (again) {
      previous = timestep
      current = timestep + this.#stride
    } else this.#outputs = [...this.#outputs.slice(-3), modelOutput]
    const [e1, e2, e3, e4] = this.#outputs.toReversed()
    let output = modelOutput
    let from = sample
    if (e2 === undefined) {
      if (this.#counter === 0) this.#sample = sample
      else if (again && e1 !== undefined) {
        output = modelOutput.map((value, i) => (value + (e1[i] ?? 0)) / 2)
        from = this.#sample ?? sample
        this.#sample = null
      }
    } else if (e1 !== undefined) {
      output = e1.map((first, i) => {
        const second = e2[i] ?? 0
        if (e3 === undefined) return (3 * first - second) / 2
        const third = e3[i] ?? 0
        if (e4 === undefined) return (23 * first - 16 * second + 5 * third) / 12
        return (55 * first - 59 * second + 37 * third - 9 * (e4[i] ?? 0)) / 24
      })
    }
    return this.#previousSample(from, current, previous, output)
  }

  /** Formula (9) of the paper. */
  #previousSample(sample: Float32Array, timestep: number, previous: number, output: Float32Array): Float32Array<ArrayBuffer> {
    const alpha = at(this.#alphas, timestep)
    const alphaPrevious = previous >= 0 ? at(this.#alphas, previous) : this.#finalAlpha
    const beta = fround(1 - alpha)
    const betaPrevious = fround(1 - alphaPrevious)
    const sampleScale = fround(sqrt(fround(alphaPrevious / alpha)))
    const denominator = fround(
      fround(alpha * fround(sqrt(betaPrevious))) + fround(sqrt(fround(fround(alpha * beta) * alphaPrevious))),
    )
    const difference = fround(alphaPrevious - alpha)
    const rootAlpha = fround(sqrt(alpha))
    const rootBeta = fround(sqrt(beta))
    const velocity = this.config.prediction_type === 'v_prediction'
    return Float32Array.from(sample, (x, i) => {
      const value = output[i] ?? 0
      const epsilon = velocity ? rootAlpha * value + rootBeta * x : value
      return sampleScale * x - (difference * epsilon) / denominator
    })
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const alpha = at(this.#alphas, timestep)
    const signal = fround(sqrt(alpha))
    const spread = fround(sqrt(fround(1 - alpha)))
    return Float32Array.from(original, (value, i) => signal * value + spread * (noise[i] ?? 0))
  }
}
