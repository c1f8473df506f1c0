/** IPNDMScheduler: linear multistep of order 4 on a schedule of sines (Crowson's v-diffusion, `plms_sample`). Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { integer, optionalNumbers } from '../config.js'
import { float32, linspace } from '../numpy.js'
import { checkSteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'
import { adamsBashforth } from './adams-bashforth.js'

const className = 'IPNDMScheduler'
const spec = {
  num_train_timesteps: integer(1000, 2, 100_000),
  trained_betas: optionalNumbers(100_000),
}

const { atan2, fround, PI, sin, sqrt } = Math

/**
 * diffusers' IPNDMScheduler. Its timesteps are between 0 and 1. It cannot start from an image, because the class has no `add_noise`. A run
 * has at least two steps.
 */
export class IPNDMScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  override readonly startsFromImage: boolean = false
  /** The standard deviation of the noise at each timestep, and at the end of the run. */
  #betas: readonly number[] = []

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const count = this.countSteps(steps, options, this.config.num_train_timesteps)
    // The first sample is pure noise, and the first step only scales it to the next noise level. With a single step that level is 0, so
    // diffusers' result is all zeros.
    checkSteps(count, this.config.num_train_timesteps, 2)
    const sines = linspace(1, 0, count + 1).map((step) => fround(sin((fround(step) * PI) / 2)))
    this.#betas = float32(this.config.trained_betas ?? sines.map((value) => value * value))
    const angles = this.#betas.map((beta) => fround(atan2(beta, this.#alpha(beta))))
    return { timesteps: float32(angles.map((angle) => (angle / PI) * 2)).slice(0, -1) }
  }

  /** The factor of the image in a sample whose noise has the standard deviation `beta`. */
  #alpha(beta: number): number {
    return fround(sqrt(fround(1 - fround(beta * beta))))
  }

  plan(index: number): StepPlan {
    const beta = this.#betas[index] ?? 0
    const nextBeta = this.#betas[index + 1] ?? 0
    const alpha = this.#alpha(beta)
    const names = Array.from({ length: Math.min(4, index + 1) }, (_, i) => `slope ${index - i}`)
    const weights = adamsBashforth(names.length)
    // With an alpha of 0, the first sample is pure noise and equals the slope: it contains no image to scale.
    const scale = index === 0 && alpha === 0 ? 0 : this.#alpha(nextBeta) / Math.max(alpha, 1e-8)
    return {
      sums: [
        {
          name: `slope ${index}`,
          terms: [
            [beta, 'sample'],
            [alpha, 'output'],
          ],
        },
        { name: 'slope', terms: names.map((name, i): StepTerm => [weights[i] ?? 0, name]) },
        {
          name: 'next',
          terms: [
            [scale, 'sample'],
            [nextBeta - scale * beta, 'slope'],
          ],
        },
      ],
      keep: names.slice(0, 3),
    }
  }

  protected noiseLevel(): NoiseLevel {
    throw new TypeError('IPNDMScheduler does not start from an image.')
  }
}
