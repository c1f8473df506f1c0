/**
 * EDMDPMSolverMultistepScheduler: DPM-Solver++ (arXiv 2211.01095) of order 1 to 3 in the EDM formulation (Karras et al. 2022, arXiv
 * 2206.00364). Mirrors diffusers' class.
 */

import { UnsupportedError } from '../../errors.js'
import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, flag, integer, unsupportedThresholding } from '../config.js'
import { edmInitialSigma, edmInputScale, edmKeys, edmOriginalTerms, edmSigmas, edmTimesteps, maxEdmSteps } from '../edm.js'
import { multistepPlan, type DpmAlgorithm } from './dpm-solver.js'
import { noisePlace, type SchedulePoint } from './multistep.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EDMDPMSolverMultistepScheduler'
const spec = {
  ...edmKeys,
  solver_order: integer(2, 1, 3),
  ...unsupportedThresholding,
  algorithm_type: choice('dpmsolver++', ['dpmsolver++', 'sde-dpmsolver++', 'deis']),
  solver_type: choice('midpoint', ['midpoint', 'heun', 'logrho', 'bh1', 'bh2']),
  lower_order_final: flag(true),
  euler_at_final: flag(false),
}

/** diffusers' EDMDPMSolverMultistepScheduler. */
export class EDMDPMSolverMultistepScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #algorithm: DpmAlgorithm

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    // diffusers accepts `deis` here, and replaces it with `dpmsolver++`.
    this.#algorithm = this.config.algorithm_type === 'deis' ? 'dpmsolver++' : this.config.algorithm_type
    if (this.#algorithm === 'sde-dpmsolver++' && this.config.solver_order === 3)
      throw new UnsupportedError('unsupported-config', `algorithm_type sde-dpmsolver++ of ${className} has no third order.`, {
        className,
        key: 'solver_order',
      })
  }

  override get initNoiseSigma(): number {
    return edmInitialSigma(this.config)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const sigmas = edmSigmas(this.config, this.countSteps(steps, options, maxEdmSteps))
    const last = this.config.final_sigmas_type === 'zero' ? 0 : Math.fround(this.config.sigma_min)
    return { timesteps: edmTimesteps(sigmas), sigmas: [...sigmas, last] }
  }

  override inputScale(index: number): number {
    return edmInputScale(this.config, this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    return multistepPlan({
      config: this.config,
      algorithm: this.#algorithm,
      index,
      place,
      before: this.stepsBefore(index),
      steps: this.timesteps.length,
      point: (at) => this.#point(at),
      prediction: edmOriginalTerms(this.config, this.sigma(place)),
    })
  }

  /** In the EDM formulation, α is 1, because the model's input is scaled before each call. */
  #point(place: number): SchedulePoint {
    const sigma = this.sigma(place)
    return { alpha: 1, sigma, lambda: -Math.log(sigma), scheduled: sigma }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.sigma(noisePlace(this.timesteps, timestep, this.beginIndex)) }
  }
}
