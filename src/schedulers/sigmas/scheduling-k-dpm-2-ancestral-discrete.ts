/**
 * KDPM2AncestralDiscreteScheduler: the second-order sampler of Crowson's k-diffusion with new noise after each step
 * (`sample_dpm_2_ancestral`). Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { checkSigmaSchedule, initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'
import { midpointSigma, withMidpoints } from './midpoint-sigmas.js'
import { spacedSigmas, twiceButFirst } from './spaced-sigmas.js'

const className = 'KDPM2AncestralDiscreteScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012 }),
  ...sigmaKeys,
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('linspace'),
}

const { fround, sqrt } = Math

/** A step from a sigma to the next: without noise to `down`, with noise of deviation `up` added; the midpoint is between `from` and `down`. */
export interface AncestralStep {
  readonly from: number
  readonly up: number
  readonly down: number
  readonly midpoint: number
}

/** In float32, as torch computes it. */
export function ancestralStep(from: number, to: number): AncestralStep {
  const [from2, to2] = [fround(from * from), fround(to * to)]
  const up = fround(sqrt(fround(fround(to2 * fround(from2 - to2)) / from2)))
  const down = fround(sqrt(fround(to2 - fround(up * up))))
  return { from, up, down, midpoint: midpointSigma(from, down) }
}

/** diffusers' KDPM2AncestralDiscreteScheduler. */
export class KDPM2AncestralDiscreteScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  override readonly order = 2
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
    const training = this.#trainingSigmas
    const count = this.countSteps(steps, options, this.config.num_train_timesteps)
    const { timesteps, sigmas } = spacedSigmas(this.config, count, { className, training, roundKarras: true })
    const midpoints = sigmas.slice(1).map((sigma, i) => ancestralStep(sigmas[i] ?? 0, sigma).midpoint)
    return { timesteps: withMidpoints(timesteps, midpoints, training), sigmas: [...twiceButFirst([...sigmas, 0]), 0] }
  }

  override inputScale(index: number): number {
    const step = this.#step(index)
    return sigmaInputScale(this.#isFirst(index) ? step.from : step.midpoint)
  }

  /** Whether the step at an index goes from a sigma to the midpoint. The other steps go to the next sigma. */
  #isFirst(index: number): boolean {
    return this.stepsBefore(index) % 2 === 0
  }

  #step(index: number): AncestralStep {
    const place = this.place(index) - (this.#isFirst(index) ? 0 : 1)
    return ancestralStep(this.sigma(place), this.sigma(place + 1))
  }

  plan(index: number): StepPlan {
    const first = this.#isFirst(index)
    const { from, up, down, midpoint } = this.#step(index)
    const sigma = first ? from : midpoint
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(this.config.prediction_type, sigma) },
        {
          name: 'derivative',
          terms: [
            [1 / sigma, 'sample'],
            [-1 / sigma, 'original'],
          ],
        },
        ...(first ? [{ name: 'start', terms: [[1, 'sample']] } as const] : []),
        {
          name: 'next',
          terms: [
            [1, 'start'],
            [fround((first ? midpoint : down) - from), 'derivative'],
            [first ? 0 : up, 'noise'],
          ],
        },
      ],
      keep: first ? ['start'] : [],
    }
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return { signal: 1, noise: this.startSigma(timestep) }
  }
}
