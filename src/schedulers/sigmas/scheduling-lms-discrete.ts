/** LMSDiscreteScheduler: linear multistep in terms of sigma (Crowson's k-diffusion, `sample_lms`), of order 4. Mirrors diffusers' class. */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { checkSigmaSchedule, initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepTerm } from '../types.js'
import { spacedSigmas } from './spaced-sigmas.js'

const className = 'LMSDiscreteScheduler'
const spec = {
  ...trainingKeys(),
  ...sigmaKeys,
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...spacingKeys('linspace'),
}
const lmsOrder = 4

/** diffusers' LMSDiscreteScheduler. */
export class LMSDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #trainingSigmas: Float32Array

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  override get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const count = this.countSteps(steps, options, this.config.num_train_timesteps)
    const { timesteps, sigmas } = spacedSigmas(this.config, count, { className, training: this.#trainingSigmas })
    return { timesteps, sigmas: [...sigmas, 0] }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.sigma(this.place(index)))
  }

  plan(index: number): StepPlan {
    const place = this.place(index)
    const sigma = this.sigma(place)
    const done = this.stepsBefore(index)
    // In a run that begins in the middle of the schedule, diffusers computes weights for more derivatives than exist yet, and uses only
    // the first ones.
    const weights = this.#weights(place, Math.min(place + 1, lmsOrder)).slice(0, done + 1)
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(this.config.prediction_type, sigma) },
        {
          name: `derivative ${index}`,
          terms: [
            [1 / sigma, 'sample'],
            [-1 / sigma, 'original'],
          ],
        },
        {
          name: 'next',
          terms: [[1, 'sample'], ...weights.map((weight, i): StepTerm => [weight, `derivative ${index - i}`])],
        },
      ],
      keep: Array.from({ length: Math.min(lmsOrder - 1, done + 1) }, (_, i) => `derivative ${index - i}`),
    }
  }

  /** The weights of the last `order` derivatives, the newest first: integrals of Lagrange's polynomials from this sigma to the next. */
  #weights(place: number, order: number): readonly number[] {
    const nodes = Array.from({ length: order }, (_, i) => this.sigma(place - i))
    const [from, to] = [this.sigma(place), this.sigma(place + 1)]
    return nodes.map((own, i) => {
      const others = nodes.filter((_, k) => k !== i)
      const scale = others.reduce((product, node) => product * (own - node), 1)
      return integrateProduct(others, from, to) / scale
    })
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}

/** The integral of Π (x − root) over x, by the two-point Gauss–Legendre rule, which is exact up to the third degree. */
function integrateProduct(roots: readonly number[], from: number, to: number): number {
  const [middle, half] = [(from + to) / 2, (to - from) / 2]
  const value = (x: number) => roots.reduce((product, root) => product * (x - root), 1)
  return half * (value(middle - half / Math.sqrt(3)) + value(middle + half / Math.sqrt(3)))
}
