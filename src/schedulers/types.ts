/** What every scheduler offers. Only types. */

/** Standard normal numbers in order, as `TorchGenerator` gives them. */
export interface NoiseSource {
  randn(count: number): Float32Array<ArrayBuffer>
}

/** What some schedulers take besides the number of steps; the others refuse it with InputError `set-timesteps`. */
export interface SetTimestepsOptions {
  /** The timesteps themselves, falling. */
  readonly timesteps?: readonly number[] | undefined
  /** The sigmas themselves, falling. Euler: one more than steps, the last is where the run ends. */
  readonly sigmas?: readonly number[] | undefined
  /** Shift for schedulers with `use_dynamic_shifting` (flow matching). */
  readonly mu?: number | undefined
  /** LCM: steps of the schedule it was distilled with, and how much of it to run. */
  readonly originalInferenceSteps?: number | undefined
  readonly strength?: number | undefined
}

export interface StepOptions {
  /** DDIM's η, 0 to 1. Schedulers without it ignore it, as diffusers' pipelines do. */
  readonly eta?: number | undefined
  /** DDIM: derive the noise again from the clipped sample. */
  readonly useClippedModelOutput?: boolean | undefined
  /** Where stochastic schedulers draw their noise. */
  readonly noise?: NoiseSource | undefined
}

/** A config as a repository holds it: diffusers' keys. */
export type SchedulerConfig = Readonly<Record<string, unknown>>

/**
 * A diffusers scheduler: from the model's output at one timestep to the sample at the next. Samples are flat float32 arrays of any
 * shape; what goes in is never written to.
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
  /** What the model is shown of `sample` at `timestep`. */
  scaleModelInput(sample: Float32Array, timestep: number): Float32Array
  /** The sample after this step; call once for each entry of `timesteps`, in order. */
  step(modelOutput: Float32Array, timestep: number, sample: Float32Array, options?: StepOptions): Float32Array<ArrayBuffer>
  /** `original` with `noise` mixed in as strongly as at `timestep`. */
  addNoise(original: Float32Array, noise: Float32Array, timestep: number): Float32Array<ArrayBuffer>
  /** The index of the first step to run, for runs that start in the middle. */
  setBeginIndex(index: number): void
}
