/**
 * PNDMScheduler: pseudo numerical methods for diffusion models (Liu et al. 2022, arXiv 2202.09778), with Runge–Kutta steps first, or
 * linear multistep (PLMS) from the start with `skip_prk_steps`. Mirrors diffusers' class.
 */

import { BaseScheduler, type NoiseLevel, type Schedule } from '../base-scheduler.js'
import { InputError } from '../../errors.js'
import { choice, flag, spacingKeys, trainingKeys } from '../config.js'
import { alphaNoiseLevel, alphasCumprod, at } from '../noise-schedule.js'
import { round } from '../numpy.js'
import { spaceTimesteps } from '../timestep-spacing.js'
import type { SchedulerConfig, SetTimestepsOptions, StepPlan, StepSum, StepTerm } from '../types.js'
import { adamsBashforth } from './adams-bashforth.js'

const className = 'PNDMScheduler'
const spec = {
  ...trainingKeys(),
  skip_prk_steps: flag(false),
  set_alpha_to_one: flag(false),
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  ...spacingKeys('leading'),
}

const { fround, sqrt } = Math
const pndmOrder = 4

function outputName(call: number): string {
  return `output ${call}`
}

/** diffusers' PNDMScheduler. */
export class PNDMScheduler extends BaseScheduler<typeof spec> {
  static readonly className = className
  static readonly configKeys = Object.keys(spec)
  readonly #alphas: Float32Array
  readonly #finalAlpha: number
  #prkTimesteps: readonly number[] = []
  /** The number of training timesteps between two steps. */
  #stride = 0

  constructor(config: SchedulerConfig) {
    super(className, spec, config)
    this.#alphas = alphasCumprod(this.config)
    this.#finalAlpha = this.config.set_alpha_to_one ? 1 : at(this.#alphas, 0)
  }

  protected schedule(steps: number | null, options: SetTimestepsOptions): Schedule {
    const {
      num_train_timesteps: trainSteps,
      timestep_spacing: spacing,
      steps_offset: offset,
      skip_prk_steps: skipPrk,
    } = this.config
    const numInferenceSteps = this.countSteps(steps, options, trainSteps)
    if (!skipPrk && numInferenceSteps < pndmOrder)
      throw new InputError('num-inference-steps', `${className} without skip_prk_steps needs at least ${pndmOrder} steps.`, {
        numInferenceSteps,
        allowed: pndmOrder,
      })
    this.#stride = Math.floor(trainSteps / numInferenceSteps)
    const rising = spaceTimesteps(spacing, numInferenceSteps, trainSteps, offset)
      .map((value) => round(value))
      .reverse()
    if (skipPrk) {
      this.#prkTimesteps = []
      return { timesteps: [...rising.slice(0, -1), ...rising.slice(-2, -1), ...rising.slice(-1)].reverse() }
    }
    const half = Math.floor(this.#stride / 2)
    const pairs = rising.slice(-pndmOrder).flatMap((value) => [value, value + half])
    this.#prkTimesteps = pairs
      .slice(0, -1)
      .flatMap((value) => [value, value])
      .slice(1, -1)
      .reverse()
    return { timesteps: [...this.#prkTimesteps, ...rising.slice(0, -3).reverse()] }
  }

  plan(index: number): StepPlan {
    const timestep = this.timesteps[index] ?? 0
    // As in diffusers, what a call does depends on how many calls there were, not on where the run begins.
    const call = this.stepsBefore(index)
    return call < this.#prkTimesteps.length ? this.#rungeKutta(call, timestep) : this.#linearMultistep(call, timestep)
  }

  /** Four calls make one Runge–Kutta step from the sample `start`; `slopes 3` is the weighted sum of their model outputs. */
  #rungeKutta(call: number, timestep: number): StepPlan {
    const phase = call % 4
    const previous = timestep - (call % 2 === 0 ? Math.floor(this.#stride / 2) : 0)
    const current = this.#prkTimesteps[call - phase] ?? timestep
    const sums: StepSum[] = []
    if (phase === 0) sums.push({ name: outputName(call), terms: [[1, 'output']] }, { name: 'start', terms: [[1, 'sample']] })
    const weight = phase === 0 || phase === 3 ? 1 / 6 : 1 / 3
    const slopes = `slopes ${phase}`
    sums.push({
      name: slopes,
      terms: [
        [phase === 0 ? 0 : 1, `slopes ${phase - 1}`],
        [weight, 'output'],
      ],
    })
    sums.push(...this.#previousSample('start', current, previous, [[1, phase === 3 ? slopes : 'output']]))
    return { sums, keep: [...this.#outputsAfter(call), ...(phase === 3 ? [] : ['start', slopes])] }
  }

  #linearMultistep(call: number, timestep: number): StepPlan {
    // The second call repeats the first step, with the mean of the outputs at both ends.
    const again = call === 1
    const previous = again ? timestep : timestep - this.#stride
    const current = again ? timestep + this.#stride : timestep
    const names = this.#outputsAfter(call)
    const weights = adamsBashforth(names.length)
    const terms: readonly StepTerm[] = again
      ? [
          [0.5, 'output'],
          [0.5, outputName(0)],
        ]
      : names.map((name, i): StepTerm => [weights[i] ?? 0, name])
    const sums: StepSum[] = []
    if (!again) sums.push({ name: outputName(call), terms: [[1, 'output']] })
    if (call === 0) sums.push({ name: 'start', terms: [[1, 'sample']] })
    sums.push(...this.#previousSample(again ? 'start' : 'sample', current, previous, terms))
    return { sums, keep: call === 0 ? [...names, 'start'] : names }
  }

  /**
   * The names of the model outputs that later calls use, the newest first: at most four. Of the Runge–Kutta calls, only the first of each
   * four is used.
   */
  #outputsAfter(call: number): readonly string[] {
    const calls = Array.from({ length: call + 1 }, (_, i) => i)
    const counting = calls.filter((i) => (i < this.#prkTimesteps.length ? i % 4 === 0 : i !== 1))
    return counting.slice(-pndmOrder).reverse().map(outputName)
  }

  /** Formula (9) of the paper. */
  #previousSample(sample: string, timestep: number, previous: number, output: readonly StepTerm[]): readonly StepSum[] {
    const alpha = at(this.#alphas, timestep)
    const alphaPrevious = previous >= 0 ? at(this.#alphas, previous) : this.#finalAlpha
    const beta = fround(1 - alpha)
    const betaPrevious = fround(1 - alphaPrevious)
    const denominator = fround(
      fround(alpha * fround(sqrt(betaPrevious))) + fround(sqrt(fround(fround(alpha * beta) * alphaPrevious))),
    )
    const velocity = this.config.prediction_type === 'v_prediction'
    return [
      { name: 'mean', terms: output },
      {
        name: 'epsilon',
        terms: velocity
          ? [
              [fround(sqrt(alpha)), 'mean'],
              [fround(sqrt(beta)), sample],
            ]
          : [[1, 'mean']],
      },
      {
        name: 'next',
        terms: [
          [fround(sqrt(fround(alphaPrevious / alpha))), sample],
          [-fround(alphaPrevious - alpha) / denominator, 'epsilon'],
        ],
      },
    ]
  }

  protected noiseLevel(timestep: number): NoiseLevel {
    return alphaNoiseLevel(at(this.#alphas, timestep))
  }
}
