/**
 * KDPM2AncestralDiscreteScheduler: the second-order sampler of Crowson's k-diffusion with new noise after each step
 * (`sample_dpm_2_ancestral`). Mirrors diffusers' class.
 */

import type { SchedulerConfig } from '../types.js'
import { KDPM2Scheduler, midpointSigma, type KDPM2Step } from './k-dpm-2.js'

const { fround, sqrt } = Math

/** The step from a sigma to the next with noise added, in float32, as torch computes it. */
export function ancestralStep(from: number, to: number): Required<KDPM2Step> {
  const [from2, to2] = [fround(from * from), fround(to * to)]
  const up = fround(sqrt(fround(fround(to2 * fround(from2 - to2)) / from2)))
  const down = fround(sqrt(fround(to2 - fround(up * up))))
  return { up, down, midpoint: midpointSigma(from, down) }
}

/** diffusers' KDPM2AncestralDiscreteScheduler. */
export class KDPM2AncestralDiscreteScheduler extends KDPM2Scheduler {
  static readonly className = 'KDPM2AncestralDiscreteScheduler'

  constructor(config: SchedulerConfig) {
    super(KDPM2AncestralDiscreteScheduler.className, config)
  }

  protected stepBetween(from: number, to: number): KDPM2Step {
    return ancestralStep(from, to)
  }
}
