/** EDMEulerScheduler: Euler's method in the EDM formulation (Karras et al. 2022, arXiv 2206.00364). Mirrors diffusers' class, without churn. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { edmInitialSigma, edmInputScale, edmKeys, edmOriginalTerms, edmSigmas, edmTimesteps, maxEdmSteps } from '../edm.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EDMEulerScheduler'
const spec = edmKeys

const { fround } = Math

/** diffusers' EDMEulerScheduler. */
export class EDMEulerScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
  }

  override get initNoiseSigma(): number {
    return edmInitialSigma(this.config)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const sigmas = edmSigmas(this.config, this.countSteps(steps, options, maxEdmSteps))
    const last = this.config.final_sigmas_type === 'zero' ? 0 : (sigmas.at(-1) ?? 0)
    return { timesteps: edmTimesteps(sigmas), sigmas: [...sigmas, last] }
  }

  override inputScale(index: number): number {
    return edmInputScale(this.config, this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const sigma = this.sigma(place)
    return {
      sums: [
        { name: 'original', terms: edmOriginalTerms(this.config, sigma) },
        {
          name: 'derivative',
          terms: [
            [1 / sigma, 'sample'],
            [-1 / sigma, 'original'],
          ],
        },
        {
          name: 'next',
          terms: [
            [1, 'sample'],
            [fround(this.sigma(place + 1) - sigma), 'derivative'],
          ],
        },
      ],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
