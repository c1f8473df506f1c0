/**
 * The base class of all schedulers: reading the config, checking the arguments of `setTimesteps`, the position in the schedule, and adding
 * noise. A scheduler's own file contains its config keys, its schedule and its step.
 */

import { InputError } from '../errors.js'
import { readSchedulerConfig, type ConfigOf, type ConfigSpec } from './config.js'
import { mixNoise } from './noise-schedule.js'
import { checkOptions, checkSteps, indexForTimestep, stepIndex } from './timestep-spacing.js'
import type { Scheduler, SchedulerConfig, SetTimestepsOptions, StepOptions, StepPlan } from './types.js'

/** The timesteps of a run, and its sigmas for schedulers that have them. */
export interface Schedule {
  readonly timesteps: readonly number[]
  readonly sigmas?: readonly number[] | undefined
}

/** The factors of the image and of the noise in a noisy sample. */
export interface NoiseLevel {
  readonly signal: number
  readonly noise: number
}

/** A scheduler with config keys `S`. Each class of diffusers extends it once. */
export abstract class BaseScheduler<S extends ConfigSpec> implements Scheduler {
  readonly className: string
  readonly config: ConfigOf<S>
  readonly unusedKeys: readonly string[]
  readonly order: number = 1
  timesteps: readonly number[] = []
  readonly startsFromImage: boolean = true
  /** Empty for schedulers that work with ᾱ. Otherwise the last sigma is that of the finished sample. */
  sigmas: readonly number[] = []
  #beginIndex: number | null = null

  /** @throws CheckpointError `invalid-config`, UnsupportedError `unsupported-config` */
  constructor(className: string, spec: S, config: SchedulerConfig) {
    this.className = className
    const read = readSchedulerConfig(className, config, spec)
    this.config = read.config
    this.unusedKeys = read.unusedKeys
  }

  get initNoiseSigma(): number {
    return 1
  }

  setTimesteps(numInferenceSteps: number | null, options: SetTimestepsOptions = {}): void {
    checkOptions(this.className, numInferenceSteps, options, this.acceptedOptions())
    const { timesteps, sigmas = [] } = this.schedule(numInferenceSteps, options)
    this.timesteps = timesteps
    this.sigmas = sigmas
    this.#beginIndex = null
  }

  setBeginIndex(index: number): void {
    this.#beginIndex = index
  }

  inputScale(_index: number): number {
    return 1
  }

  abstract plan(index: number, options?: StepOptions): StepPlan

  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer> {
    const level = this.noiseLevel(timestep)
    return mixNoise(original, noise, level.signal, level.noise)
  }

  /** The options of `setTimesteps` that the class accepts besides the number of steps. */
  protected acceptedOptions(): readonly (keyof SetTimestepsOptions)[] {
    return []
  }

  /** Computes the schedule of a run. Either `steps` or one list of the options is given. */
  protected abstract schedule(steps: number | null, options: SetTimestepsOptions): Schedule

  /** The factors of image and noise in the first sample of a run that begins at `timestep`. */
  protected abstract noiseLevel(timestep: number): NoiseLevel

  /**
   * The number of steps: the length of `timesteps` or `sigmas` if one is given, otherwise `steps`.
   * @throws InputError `num-inference-steps` unless 1 ≤ count ≤ `max`
   */
  protected countSteps(steps: number | null, { timesteps, sigmas }: SetTimestepsOptions, max: number): number {
    const count = (timesteps ?? sigmas)?.length ?? steps
    checkSteps(count, max)
    return count
  }

  /** The index of the first step that runs, or null if `setBeginIndex` was not called. */
  protected get beginIndex(): number | null {
    return this.#beginIndex
  }

  /** The number of steps that ran before the one at `timesteps[index]`. */
  protected stepsBefore(index: number): number {
    return index - (this.#beginIndex ?? 0)
  }

  /**
   * The position in `sigmas` of the step at `timesteps[index]`: diffusers' `step_index`.
   * @throws InputError `set-timesteps` if a run from pure noise begins at the second of two equal timesteps: the sigmas then end before the steps, and diffusers fails in the last step
   */
  protected place(index: number): number {
    const place = stepIndex(this.timesteps, index, this.#beginIndex)
    const [first] = this.timesteps
    if (this.#beginIndex === null && place > index && this.sigmas.length > 0)
      throw new InputError(
        'set-timesteps',
        `The first two timesteps of ${this.className} are equal (${first}), so its sigmas end before the last step. Choose fewer steps, or another spacing of timesteps or sigmas.`,
        { className: this.className, timesteps: this.timesteps },
      )
    return place
  }

  /** The sigma at a position of the schedule. */
  protected sigma(place: number): number {
    return this.sigmas[place] ?? 0
  }

  /** The sigma of the first sample of a run that begins at `timestep`. */
  protected startSigma(timestep: number): number {
    return this.sigma(this.#beginIndex ?? indexForTimestep(this.timesteps, timestep))
  }
}
