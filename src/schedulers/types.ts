/** The interface of schedulers, and the form in which they describe a step. Contains only types. */

/** Options that some schedulers accept besides the number of steps. The others throw InputError `set-timesteps`. */
export interface SetTimestepsOptions {
  /** The timesteps of the run, in falling order. */
  readonly timesteps?: readonly number[] | undefined
  /**
   * The sigmas of the run, in falling order. EulerDiscreteScheduler takes one more sigma than there are steps, and ends the run at the last
   * sigma.
   */
  readonly sigmas?: readonly number[] | undefined
  /** Shift for schedulers with `use_dynamic_shifting` (flow matching). */
  readonly mu?: number | undefined
}

/** Options of a single step. */
export interface StepOptions {
  /** DDIM's η, 0 to 1. Schedulers without it ignore it, as diffusers' pipelines do. */
  readonly eta?: number | undefined
}

/** One summand of a step: a factor and the name of a value. */
export type StepTerm = readonly [scale: number, value: string]

/** A value that a step computes: the sum of its terms, clamped to ±`bound` if there is one. */
export interface StepSum {
  readonly name: string
  readonly terms: readonly StepTerm[]
  readonly bound?: number | undefined
  /** Rounds the sum to float32 before it is used. Needed where the result depends on rounding at the same place as torch. */
  readonly rounded?: true | undefined
}

/**
 * A step as a list of sums, in the order in which step-runner.ts computes them. A term names `sample` (before the step), `output` (the
 * model's), `noise` (new standard normal numbers in each step), a value that an earlier step kept, or an earlier sum.
 */
export interface StepPlan {
  /** One of the sums has the name `next`: the sample after the step. */
  readonly sums: readonly StepSum[]
  /** The names of the values that later steps need. All others are discarded. */
  readonly keep?: readonly string[] | undefined
}

/** The contents of a `scheduler_config.json`, with diffusers' keys. */
export type SchedulerConfig = Readonly<Record<string, unknown>>

/**
 * A diffusers scheduler: describes how to compute the sample at the next timestep from the model's output at the current one. It computes
 * only factors; step-runner.ts applies them to the arrays, and keeps the arrays that later steps need. So a step is the same on the CPU and
 * on a GPU.
 */
export interface Scheduler {
  readonly className: string
  /** Every config key of the class, with the value in use. */
  readonly config: SchedulerConfig
  /** Keys of the given config whose values have no effect: another key switches them off, or the class never reads them. */
  readonly unusedKeys: readonly string[]
  /** The number of model calls per step: 2 for Heun and both KDPM2 classes, 1 for all others. */
  readonly order: number
  /** Whether diffusers' class has `add_noise`. */
  readonly startsFromImage: boolean
  /** The timesteps of the last `setTimesteps`, in the order they run. */
  readonly timesteps: readonly number[]
  /** Standard deviation of the initial noise. */
  readonly initNoiseSigma: number
  /** Starts a run. `numInferenceSteps` is null if the options contain a list. @throws InputError `num-inference-steps`, `set-timesteps` */
  setTimesteps(numInferenceSteps: number | null, options?: SetTimestepsOptions): void
  /** diffusers' `scale_model_input`: the factor by which the sample is multiplied before it goes to the model at `timesteps[index]`. */
  inputScale(index: number): number
  /** diffusers' `step` at `timesteps[index]`, for runs that take every step from the begin index on. The same index always gives the same plan. */
  plan(index: number, options?: StepOptions): StepPlan
  /** Mixes `noise` into `original` with the strength of `timestep`, before the first step. Returns a new array. */
  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer>
  /** Sets the index of the first step, for runs that start in the middle. */
  setBeginIndex(index: number): void
}
