/**
 * HeunDiscreteScheduler: Heun's second-order method (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn): two model calls
 * per step, except for the last step. Mirrors diffusers' class.
 */

import { InputError } from '../../errors.js'
import { choice, flag, number, readConfig, sigmaKeys, spacingKeys, trainingKeys, type ConfigOf } from '../config.js'
import { alphasCumprod, mixNoise, trainingSigmas } from '../noise-schedule.js'
import { float32, interpolateAt } from '../numpy.js'
import {
  checkSigmaSchedule,
  convertSigmas,
  initialSigma,
  sigmaInputScale,
  sigmaOriginalTerms,
  sigmaToTimestep,
} from '../sigma-schedules.js'
import { checkOptions, checkSteps, indexForTimestep, spaceTimesteps, stepIndex } from '../timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepPlan, StepSum } from '../types.js'

const className = 'HeunDiscreteScheduler'
const spec = {
  ...trainingKeys({ start: 0.00085, end: 0.012 }),
  beta_schedule: choice('linear', ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'exp']),
  prediction_type: choice('epsilon', ['epsilon', 'sample', 'v_prediction']),
  ...sigmaKeys,
  clip_sample: flag(false),
  clip_sample_range: number(1, 0),
  ...spacingKeys('linspace'),
}

const { fround } = Math

/** Repeats every value but the first. */
function twiceButFirst(values: readonly number[]): number[] {
  return values.flatMap((value, i) => (i === 0 ? [value] : [value, value]))
}

/** Moves the sample named `from` by `by` along the slope named `along`. */
function move(from: string, by: number, along: string): readonly StepSum[] {
  return [
    { name: 'move', terms: [[by, along]], rounded: true },
    {
      name: 'next',
      terms: [
        [1, from],
        [1, 'move'],
      ],
    },
  ]
}

/** diffusers' HeunDiscreteScheduler. */
export class HeunDiscreteScheduler implements Scheduler {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly className = className
  readonly order = 2
  readonly config: ConfigOf<typeof spec>
  timesteps: readonly number[] = []
  sigmas: readonly number[] = []
  readonly #trainingSigmas: Float32Array
  #beginIndex: number | null = null

  constructor(config: SchedulerConfig) {
    this.config = readConfig(className, config, spec)
    checkSigmaSchedule(className, this.config)
    this.#trainingSigmas = trainingSigmas(alphasCumprod(this.config))
  }

  get initNoiseSigma(): number {
    return initialSigma(this.sigmas, this.config.timestep_spacing)
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    const { config } = this
    checkOptions(className, numInferenceSteps, options, ['timesteps'])
    const count = options.timesteps?.length ?? numInferenceSteps
    checkSteps(count, config.num_train_timesteps)
    const training = this.#trainingSigmas
    let timesteps = float32(
      options.timesteps ?? spaceTimesteps(config.timestep_spacing, count, config.num_train_timesteps, config.steps_offset),
    )
    let sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
    const converted = convertSigmas(config, { min: sigmas.at(-1) ?? 0, max: sigmas[0] ?? 0 }, count)
    if (converted !== null) {
      if (options.timesteps !== undefined)
        throw new InputError(
          'set-timesteps',
          `${className} does not accept timesteps together with Karras, exponential or beta sigmas.`,
        )
      const logSigmas = training.map((sigma) => Math.log(sigma))
      sigmas = converted
      timesteps = float32(sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas)))
    }
    this.sigmas = float32([...twiceButFirst(sigmas), 0])
    this.timesteps = twiceButFirst(timesteps)
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  inputScale(index: number): number {
    return sigmaInputScale(this.sigmas[stepIndex(this.timesteps, index, this.#beginIndex)] ?? 0)
  }

  plan(index: number): StepPlan {
    const { clip_sample: clip, clip_sample_range: range, prediction_type: predictionType } = this.config
    const place = stepIndex(this.timesteps, index, this.#beginIndex)
    const sigma = this.sigmas[place] ?? 0
    // Round after each operation, as torch does: at sigmas of 10^4, rounding errors are as large as the image's share of the sample.
    const slope = (name: string): readonly StepSum[] => [
      { name: 'original', terms: sigmaOriginalTerms(predictionType, sigma), bound: clip ? range : undefined, rounded: true },
      {
        name: `noise of ${name}`,
        terms: [
          [1, 'sample'],
          [-1, 'original'],
        ],
        rounded: true,
      },
      { name, terms: [[1 / sigma, `noise of ${name}`]], rounded: true },
    ]
    if ((index - (this.#beginIndex ?? 0)) % 2 === 0) {
      const dt = fround((this.sigmas[place + 1] ?? 0) - sigma)
      return {
        sums: [...slope('slope'), { name: 'start', terms: [[1, 'sample']] }, ...move('sample', dt, 'slope')],
        keep: ['slope', 'start'],
      }
    }
    // The second half repeats the step with the mean of the slopes at both ends.
    const dt = fround(sigma - (this.sigmas[place - 1] ?? 0))
    return {
      sums: [
        ...slope('slope at the end'),
        {
          name: 'both',
          terms: [
            [1, 'slope'],
            [1, 'slope at the end'],
          ],
          rounded: true,
        },
        ...move('start', dt / 2, 'both'),
      ],
    }
  }

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const index = this.#beginIndex ?? indexForTimestep(this.timesteps, timestep)
    return mixNoise(original, noise, 1, this.sigmas[index] ?? 0)
  }
}
