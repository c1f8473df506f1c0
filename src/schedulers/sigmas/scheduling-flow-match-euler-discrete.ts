/**
 * FlowMatchEulerDiscreteScheduler: Euler's method along a rectified flow, with the schedule shifted towards noise for large images
 * (Stable Diffusion 3, arXiv 2403.03206). Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { InputError } from '../../errors.js'
import { choice, flag, integer, number, onlyWith, optionalNumber, type Reader, sigmaKeys } from '../config.js'
import { float32, linspace } from '../numpy.js'
import { checkSigmaSchedule, convertSigmas, shiftSigma, stretchToTerminal, timeShiftSigma } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'

const className = 'FlowMatchEulerDiscreteScheduler'
const withDynamicShift = (read: Reader<number>) => onlyWith('use_dynamic_shifting', false, read)
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  shift: number(1, 1e-6, 1e6),
  use_dynamic_shifting: flag(false),
  // Pipelines compute `mu` from the next four keys.
  base_shift: withDynamicShift(number(0.5)),
  max_shift: withDynamicShift(number(1.15)),
  base_image_seq_len: withDynamicShift(integer(256, 1, 1_000_000)),
  max_image_seq_len: withDynamicShift(integer(4096, 1, 1_000_000)),
  invert_sigmas: flag(false),
  shift_terminal: optionalNumber(0, 0.999999),
  ...sigmaKeys,
  time_shift_type: choice('exponential', ['exponential', 'linear']),
  stochastic_sampling: flag(false),
}

const { fround } = Math

/** diffusers' FlowMatchEulerDiscreteScheduler. */
export class FlowMatchEulerDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  /**
   * The ends of the training schedule, shifted by `shift` unless the shift is dynamic. As in diffusers, the schedule of a run is shifted
   * again.
   */
  readonly #range: { readonly min: number; readonly max: number }

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    const { use_dynamic_shifting: dynamic, num_train_timesteps: trainSteps, shift } = this.config
    const shifted = (sigma: number) => (dynamic ? sigma : shiftSigma(sigma, shift, fround))
    this.#range = { min: shifted(fround(1 / trainSteps)), max: shifted(1) }
  }

  protected override acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return ['sigmas', 'mu']
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { config } = this
    const trainSteps = config.num_train_timesteps
    const { mu } = options
    const count = this.countSteps(steps, options, trainSteps)
    // diffusers puts given sigmas into a numpy array of float32, so numpy rounds each result to float32.
    const rounding = options.sigmas === undefined ? undefined : fround
    let sigmas: number[]
    if (options.sigmas !== undefined) sigmas = float32(options.sigmas)
    else sigmas = linspace(this.#range.max * trainSteps, this.#range.min * trainSteps, count).map((value) => value / trainSteps)
    if (config.use_dynamic_shifting) {
      if (mu === undefined || !Number.isFinite(mu))
        throw new InputError('set-timesteps', `${className} with use_dynamic_shifting needs mu.`)
      sigmas = sigmas.map((sigma) => timeShiftSigma(sigma, mu, config.time_shift_type, rounding))
    } else sigmas = sigmas.map((sigma) => shiftSigma(sigma, config.shift, rounding))
    sigmas = stretchToTerminal(sigmas, config.shift_terminal, rounding)
    sigmas = float32(convertSigmas(config, { min: sigmas.at(-1) ?? 0, max: sigmas[0] ?? 0 }, count) ?? sigmas)
    if (config.invert_sigmas) sigmas = float32(sigmas.map((sigma) => 1 - sigma))
    return { timesteps: float32(sigmas.map((sigma) => sigma * trainSteps)), sigmas: [...sigmas, config.invert_sigmas ? 1 : 0] }
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const sigma = this.sigma(place)
    const next = this.sigma(place + 1)
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
  protected noiseLevel(timestep: number): NoiseLevel {
    const sigma = this.startSigma(timestep)
    return { signal: 1 - sigma, noise: sigma }
  }
}
