/** What every scheduler offers. Only types. */

/** What some schedulers take besides the number of steps; the others refuse it with InputError `set-timesteps`. */
export interface SetTimestepsOptions {
  /** The timesteps themselves, falling. */
  readonly timesteps?: readonly number[] | undefined
  /** The sigmas themselves, falling. Euler: one more than steps, the last is where the run ends. */
  readonly sigmas?: readonly number[] | undefined
  /** Shift for schedulers with `use_dynamic_shifting` (flow matching). */
  readonly mu?: number | undefined
}

export interface StepOptions {
  /** DDIM's η, 0 to 1. Schedulers without it ignore it, as diffusers' pipelines do. */
  readonly eta?: number | undefined
}

/** One summand of a step: a factor and the name of a value. */
export type StepTerm = readonly [scale: number, value: string]

/** A value that a step makes: the sum of its terms, and no further from 0 than `bound` where there is one. */
export interface StepSum {
  readonly name: string
  readonly terms: readonly StepTerm[]
  readonly bound?: number | undefined
  /** Rounded to float32 before it is used: where the rounding is what the result hangs on, it has to fall where torch's does. */
  readonly rounded?: true | undefined
}

/**
 * A step written down, for whoever has the arrays: sums in the order they are made. A term names `sample` (before the step), `output` (the
 * model's), `noise` (standard normal numbers, fresh in each step), a value that an earlier step kept, or a sum made before.
 */
export interface StepPlan {
  /** One of them is `next`, the sample after the step. */
  readonly sums: readonly StepSum[]
  /** The values that later steps still name. What is not among them is forgotten. */
  readonly keep?: readonly string[] | undefined
}

/** A config as a repository holds it: diffusers' keys. */
export type SchedulerConfig = Readonly<Record<string, unknown>>

/**
 * A diffusers scheduler: from the model's output at one timestep to the sample at the next. It knows numbers only: the arrays, and what is
 * kept of them from step to step, are step-runner.ts's, so that a step is the same on the CPU and on a GPU.
 */
export interface Scheduler {
  readonly className: string
  /** Every key with the value in use. */
  readonly config: SchedulerConfig
  /** Model calls per step: 2 for Heun, else 1. */
  readonly order: number
  /** The timesteps of the last `setTimesteps`, in the order they run. */
  readonly timesteps: readonly number[]
  /** Standard deviation of the initial noise. */
  readonly initNoiseSigma: number
  /** Starts a run. The number of steps is null where the options give a list. @throws InputError `num-inference-steps`, `set-timesteps` */
  setTimesteps(numInferenceSteps: number | null, options?: SetTimestepsOptions): void
  /** diffusers' `scale_model_input`: the model is shown the sample times this at `timesteps[index]`. */
  inputScale(index: number): number
  /** diffusers' `step` at `timesteps[index]`, for runs that take every step from the begin index on. The same index gives the same plan. */
  plan(index: number, options?: StepOptions): StepPlan
  /** `original` with `noise` mixed in as strongly as at `timestep`, before the first step. */
  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer>
  /** The index of the first step to run, for runs that start in the middle. */
  setBeginIndex(index: number): void
}
