/**
 * The base class of KDPM2 and its ancestral form: a step from one sigma of the schedule to the next calls the model a second time, at a
 * sigma between the two, and moves the sample by the output of this second call. Source: algorithm 2 of Karras et al. 2022, arXiv
 * 2206.00364, in the form of Crowson's k-diffusion.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { choice, sigmaKeys, spacingKeys, trainingKeys } from '../config.js'
import { alphasCumprod, trainingSigmas } from '../noise-schedule.js'
import { float32, logFloat32 } from '../numpy.js'
import { checkSigmaSchedule, initialSigma, sigmaInputScale, sigmaOriginalTerms, sigmaToTimestep } from '../sigma-schedules.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'
import { spacedSigmas, twiceButFirst } from './spaced-sigmas.js'

const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012 }),
  ...sigmaKeys,
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('linspace'),
}

const { exp, fround, log } = Math

/** A step from a sigma to the next. */
export interface KDPM2Step {
  /** The sigma of the second call of the model. */
  readonly midpoint: number
  /** The sigma that the sample has after the step, without noise. */
  readonly down: number
  /** The standard deviation of the noise that is added after the step; undefined in KDPM2DiscreteScheduler, which draws none. */
  readonly up?: number
}

/** The base of both classes. */
export abstract class KDPM2Scheduler extends BaseScheduler<typeof spec> {
  static readonly configKeys = Object.keys(spec)
  override readonly order = 2
  readonly #trainingSigmas: Float32Array

  constructor(className: string, config: SchedulerConfig) {
    super(className, spec, config)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  /** Computes a step in float32, as torch does. */
  protected abstract stepBetween(from: number, to: number): KDPM2Step

  override get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const { className, config } = this
    const training = this.#trainingSigmas
    const count = this.countSteps(steps, options, config.num_train_timesteps)
    const { timesteps, sigmas } = spacedSigmas(config, count, { className, training, roundKarras: true })
    const midpoints = sigmas.slice(1).map((sigma, i) => this.stepBetween(sigmas[i] ?? 0, sigma).midpoint)
    return { timesteps: withMidpoints(timesteps, midpoints, training), sigmas: [...twiceButFirst([...sigmas, 0]), 0] }
  }

  override inputScale(index: number): number {
    return sigmaInputScale(this.#modelSigma(index))
  }

  /** Whether the step at an index goes from a sigma to the midpoint. The other steps go to the next sigma. */
  #isFirst(index: number): boolean {
    return this.stepsBefore(index) % 2 === 0
  }

  /** The sigma at which a pair of steps begins, and the sigma at which it ends. */
  #ends(index: number): readonly [from: number, to: number] {
    const place = this.place(index) - (this.#isFirst(index) ? 0 : 1)
    return [this.sigma(place), this.sigma(place + 1)]
  }

  #modelSigma(index: number): number {
    const [from, to] = this.#ends(index)
    return this.#isFirst(index) ? from : this.stepBetween(from, to).midpoint
  }

  plan(index: number): StepPlan {
    const first = this.#isFirst(index)
    const [from, to] = this.#ends(index)
    const { midpoint, down, up } = this.stepBetween(from, to)
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
            // As in diffusers, both steps of a pair draw noise, but the first does not use it.
            ...(up === undefined ? [] : [[first ? 0 : up, 'noise'] as const]),
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

/** The sigma halfway from `start` to `end` on a logarithmic scale, rounded as torch's `lerp` rounds it; 0 if one of them is 0. */
export function midpointSigma(start: number, end: number): number {
  if (start === 0 || end === 0) return 0
  const [from, to] = [fround(log(start)), fround(log(end))]
  return fround(exp(fround(to - fround(to - from) / 2)))
}

/** Puts the timestep of each sigma of `midpoints` between two timesteps. `training`: the training's sigmas, in rising order. */
function withMidpoints(timesteps: readonly number[], midpoints: readonly number[], training: Float32Array): number[] {
  const logSigmas = training.map(logFloat32)
  const between = float32(midpoints.map((sigma) => sigmaToTimestep(sigma, logSigmas)))
  return timesteps.flatMap((timestep, i) => (i === 0 ? [timestep] : [between[i - 1] ?? 0, timestep]))
}
