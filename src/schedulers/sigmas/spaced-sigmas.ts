/** The schedule that Heun, LMS and KDPM2 share: sigmas interpolated at spaced timesteps, or spread in one of three other ways. */

import { InputError } from '../../errors.js'
import { float32, interpolateAt, logFloat32, round } from '../numpy.js'
import { convertSigmas, sigmaToTimestep, type SigmaScheduleConfig } from '../sigma-schedules.js'
import { spaceTimesteps, type TimestepSpacing } from '../timestep-spacing.js'

/** The config keys that determine the schedule. */
export interface SpacedSigmasConfig extends SigmaScheduleConfig {
  readonly timestep_spacing: TimestepSpacing
  readonly num_train_timesteps: number
  readonly steps_offset: number
}

/** How the schedule of a run is computed. */
export interface SpacedSigmasOptions {
  readonly className: string
  /** The training's sigmas, in rising order. */
  readonly training: Float32Array
  /** The timesteps of the run, if the caller gave them. */
  readonly given?: readonly number[] | undefined
  /** Whether the timesteps of Karras' sigmas are whole numbers. */
  readonly roundKarras?: boolean
}

/**
 * The timesteps of a run and their sigmas, one for each step.
 * @throws InputError `set-timesteps` for timesteps together with another distribution of sigmas
 */
export function spacedSigmas(
  config: SpacedSigmasConfig,
  steps: number,
  { className, training, given, roundKarras = false }: SpacedSigmasOptions,
): { readonly timesteps: readonly number[]; readonly sigmas: readonly number[] } {
  const timesteps = float32(
    given ?? spaceTimesteps(config.timestep_spacing, steps, config.num_train_timesteps, config.steps_offset),
  )
  const sigmas = timesteps.map((timestep) => interpolateAt(timestep, training))
  const converted = convertSigmas(config, { min: sigmas.at(-1) ?? 0, max: sigmas[0] ?? 0 }, steps)
  if (converted === null) return { timesteps, sigmas: float32(sigmas) }
  if (given !== undefined)
    throw new InputError(
      'set-timesteps',
      `${className} does not accept timesteps together with Karras, exponential or beta sigmas.`,
    )
  const logSigmas = training.map(logFloat32)
  const found = converted.map((sigma) => sigmaToTimestep(sigma, logSigmas))
  const rounded = roundKarras && config.use_karras_sigmas ? found.map((value) => round(value)) : found
  return { timesteps: float32(rounded), sigmas: float32(converted) }
}

/** Repeats every value but the first, for schedulers that call the model twice in each step but the last. */
export function twiceButFirst(values: readonly number[]): number[] {
  return values.flatMap((value, i) => (i === 0 ? [value] : [value, value]))
}
