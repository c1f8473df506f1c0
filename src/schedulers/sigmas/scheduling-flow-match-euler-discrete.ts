/**
 * FlowMatchEulerDiscreteScheduler: Euler's method along a rectified flow, with the schedule shifted towards noise for large images
 * (Stable Diffusion 3, arXiv 2403.03206). Mirrors diffusers' class.
 */

import { InputError } from '../../errors.js'
import { choice, flag, integer, number, optionalNumber, readConfig, sigmaKeys, type ConfigOf } from '../config.js'
import { mixNoise } from '../noise-schedule.js'
import { float32, linspace } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, shiftSigma, stretchToTerminal, timeShiftSigma } from '../sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, stepIndex } from '../timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'

const className = 'FlowMatchEulerDiscreteScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  shift: number(1, 1e-6, 1e6),
  use_dynamic_shifting: flag(false),
  // Pipelines compute `mu` from the next four keys.
  base_shift: number(0.5),
  max_shift: number(1.15),
  base_image_seq_len: integer(256, 1, 1_000_000),
  max_image_seq_len: integer(4096, 1, 1_000_000),
  invert_sigmas: flag(false),
  shift_terminal: optionalNumber(0, 0.999999),
  ...sigmaKeys,
  time_shift_type: choice('exponential', ['exponential', 'linear']),
  stochastic_sampling: flag(false),
}

const { fround } = Math

/** diffusers' FlowMatchEulerDiscreteScheduler. */
export class FlowMatchEulerDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly initNoiseSigma = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  /** The ends of the training schedule, shifted once. As in diffusers, the schedule of a run is shifted once more. */
  readonly #range: { readonly min: number; readonly max: number }
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    checkSigmaSchedule(className, this.config)
    const { use_dynamic_shifting: dynamic, num_train_timesteps: trainSteps, shift } = this.config
    const shifted = (sigma: number) => (dynamic ? sigma : fround(shiftSigma(sigma, shift)))
    this.#range = { min: shifted(fround(1 / trainSteps)), max: shifted(1) }
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { config } = this
    checkOptions(className, numInferenceSteps, options, ['sigmas', 'mu'])
    const trainSteps = config.num_train_timesteps
    const { mu } = options
    const count = options.sigmas?.length ?? numInferenceSteps
    checkSteps(count, trainSteps)
    let sigmas: number[]
    if (options.sigmas !== undefined) sigmas = float32(options.sigmas)
    else sigmas = linspace(this.#range.max * trainSteps, this.#range.min * trainSteps, count).map((value) => value / trainSteps)
    if (config.use_dynamic_shifting) {
      if (mu === undefined || !Number.isFinite(mu))
        throw new InputError('set-timesteps', `${className} with use_dynamic_shifting needs mu.`)
      sigmas = sigmas.map((sigma) => timeShiftSigma(sigma, mu, config.time_shift_type))
    } else sigmas = sigmas.map((sigma) => shiftSigma(sigma, config.shift))
    sigmas = stretchToTerminal(sigmas, config.shift_terminal)
    sigmas = float32(convertSigmas(config, { min: sigmas.at(-1) ?? 0, max: sigmas[0] ?? 0 }, count) ?? sigmas)
    if (config.invert_sigmas) sigmas = float32(sigmas.map((sigma) => 1 - sigma))
    this.timesteps = float32(sigmas.map((sigma) => sigma * trainSteps))
    this.sigmas = [...sigmas, config.invert_sigmas ? 1 : 0]
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  inputScale(): number {
    return 1
  }

  plan(index: number): StepPlan {
    const place = stepIndex(this.timesteps, index, this.#beginIndex)
    const sigma = this.sigmas[place] ?? 0
    const next = this.sigmas[place + 1] ?? 0
    const terms: readonly StepTerm[] = this.config.stochastic_sampling
      ? [
          [1 - next, 'sample'],
          [-(1 - next) * sigma, 'output'],
          [next, 'noise'],
        ]
      : [
          [1, 'sample'],
          [fround(next - sigma), 'output'],
        ]
    return { sums: [{ name: 'next', terms }] }
  }

  /** diffusers' `scale_noise`, which moves the sample towards the noise along a straight line. */
  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex ?? indexForTimestep(this.timesteps, timestep)
    const sigma = this.sigmas[index] ?? 0
    return mixNoise(original, noise, 1 - sigma, sigma)
  }
}
