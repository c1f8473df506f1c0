/** KDPM2DiscreteScheduler: the second-order sampler of Crowson's k-diffusion (`sample_dpm_2`). Mirrors diffusers' class. */

import type { SchedulerConfig } from '../types.js'
import { KDPM2Scheduler, midpointSigma, type KDPM2Step } from './k-dpm-2.js'

/** diffusers' KDPM2DiscreteScheduler. */
export class KDPM2DiscreteScheduler extends KDPM2Scheduler {
  static readonly className = 'KDPM2DiscreteScheduler'

  constructor(config: SchedulerConfig) {
    super(KDPM2DiscreteScheduler.className, config)
  }

  protected stepBetween(from: number, to: number): KDPM2Step {
    return { down: to, midpoint: midpointSigma(to, from) }
  }
}
