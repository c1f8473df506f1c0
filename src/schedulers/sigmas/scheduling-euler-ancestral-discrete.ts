/**
 * EulerAncestralDiscreteScheduler: Euler's method with new noise after each step (Crowson's k-diffusion, `sample_euler_ancestral`).
 * Mirrors diffusers' class.
 */

import { choice, flag, readConfig, spacingKeys, trainingKeys, type ConfigOf } from '../config.js'
import { alphasCumprodForSigmas, mixNoise, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt } from '../numpy.js'
import { initialSigma, sigmaInputScale, sigmaOriginalTerms } from '../sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, spaceTimesteps, stepIndex } from '../timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepPlan } from '../types.js'

const className = 'EulerAncestralDiscreteScheduler'
const spec = {
  ...trainingKeys(),
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('linspace'),
  rescale_betas_zero_snr: flag(false),
}

const { fround, sqrt } = Math

/** diffusers' EulerAncestralDiscreteScheduler. */
export class EulerAncestralDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 1
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    this.#trainingSigmas = trainingSigmas(alphasCumprodForSigmas(this.config))
  }

  get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { num_train_timesteps: trainSteps, timestep_spacing: spacing, steps_offset: offset } = this.config
    checkOptions(className, numInferenceSteps, options, [])
    checkSteps(numInferenceSteps, trainSteps)
    this.timesteps = float32(spaceTimesteps(spacing, numInferenceSteps, trainSteps, offset))
    this.sigmas = float32([...this.timesteps.map((timestep) => interpolateAt(timestep, this.#trainingSigmas)), 0])
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  inputScale(index: number): number {
    return sigmaInputScale(this.sigmas[stepIndex(this.timesteps, index, this.#beginIndex)] ?? 0)
  }

  plan(index: number): StepPlan {
    const place = stepIndex(this.timesteps, index, this.#beginIndex)
    const from = this.sigmas[place] ?? 0
    const to = this.sigmas[place + 1] ?? 0
    const up = fround(sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2))
    const down = fround(sqrt(to ** 2 - up ** 2))
    return {
      sums: [
        { name: 'original', terms: sigmaOriginalTerms(this.config.prediction_type, from) },
        {
          name: 'derivative',
          terms: [
            [1 / from, 'sample'],
            [-1 / from, 'original'],
          ],
        },
        {
          name: 'next',
          terms: [
            [1, 'sample'],
            [fround(down - from), 'derivative'],
            [up, 'noise'],
          ],
        },
      ],
    }
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex ?? indexForTimestep(this.timesteps, timestep)
    return mixNoise(original, noise, 1, this.sigmas[index] ?? 0)
  }
}
