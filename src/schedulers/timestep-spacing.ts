/** Distributes the timesteps of a run over those of the training. Source: table 2 of Lin et al. 2023, arXiv 2305.08891. */

import { InputError } from '../errors.js'
import { arange, linspace, round } from './numpy.js'
import type { SetTimestepsOptions } from './types.js'

/** The values of `timestep_spacing`. */
export type TimestepSpacing = 'linspace' | 'leading' | 'trailing'

/**
 * Checks the arguments of `setTimesteps` against the options that a class accepts.
 * @throws InputError `set-timesteps` for an option that the class does not accept, or a list together with a number of steps
 */
export function checkOptions(
  className: string,
  steps: number | null,
  options: SetTimestepsOptions,
  taken: readonly (keyof SetTimestepsOptions)[],
): void {
  const given = (Object.keys(options) as (keyof SetTimestepsOptions)[]).filter((key) => options[key] !== undefined)
  const refuse = (message: string): never => {
    throw new InputError('set-timesteps', message, { className, given })
  }
  for (const key of given) if (!taken.includes(key)) refuse(`${className} does not accept ${key}.`)
  const lists = given.filter((key) => key === 'timesteps' || key === 'sigmas')
  if (lists.length > 1) refuse('Only one of timesteps and sigmas can be given.')
  if ((steps === null) !== (lists.length === 1))
    refuse('Either numInferenceSteps or a list of timesteps or sigmas must be given.')
  for (const key of lists) {
    const values = options[key] as readonly number[]
    if (values.length === 0 || values.length > 1000 || !values.every((value) => Number.isFinite(value) && value >= 0))
      refuse(`${key} must be a list of 1 to 1000 numbers that are not negative.`)
  }
}

/** @throws InputError `num-inference-steps` unless `min` ≤ `steps` ≤ `max` */
export function checkSteps(steps: number | null, max: number, min = 1): asserts steps is number {
  if (steps === null || !Number.isInteger(steps) || steps < min || steps > max)
    throw new InputError(
      'num-inference-steps',
      `numInferenceSteps is ${steps}; allowed are whole numbers from ${min} to ${max}.`,
      {
        numInferenceSteps: steps,
        allowed: max,
      },
    )
}

/** @throws InputError `set-timesteps` unless the timesteps are whole numbers below `trainSteps`, in falling order */
export function checkFalling(timesteps: readonly number[], trainSteps: number): void {
  if (timesteps.some((value, i) => !Number.isInteger(value) || value >= (i === 0 ? trainSteps : (timesteps[i - 1] ?? 0))))
    throw new InputError('set-timesteps', `timesteps must be whole numbers below ${trainSteps}, in falling order.`, { timesteps })
}

/** Returns the timesteps from noise to image. Those of `linspace` are not rounded: only DDPM, DDIM and PNDM round them. */
export function spaceTimesteps(spacing: TimestepSpacing, steps: number, trainSteps: number, offset: number): number[] {
  switch (spacing) {
    case 'linspace':
      return linspace(0, trainSteps - 1, steps).reverse()
    case 'leading': {
      const ratio = Math.floor(trainSteps / steps)
      return Array.from({ length: steps }, (_, i) => i * ratio + offset).reverse()
    }
    case 'trailing':
      return arange(trainSteps, 0, -trainSteps / steps).map((value) => round(value) - 1)
  }
}

/** Returns the timesteps of a multistep solver. `linspace` and `leading` compute `steps` + 1 points and drop the last one. */
export function spaceMultistepTimesteps(
  spacing: TimestepSpacing,
  steps: number,
  { trainSteps, lastTimestep, offset }: { readonly trainSteps: number; readonly lastTimestep: number; readonly offset: number },
): number[] {
  switch (spacing) {
    case 'linspace':
      return linspace(0, lastTimestep - 1, steps + 1)
        .map((value) => round(value))
        .reverse()
        .slice(0, -1)
    case 'leading': {
      const ratio = Math.floor(lastTimestep / (steps + 1))
      return Array.from({ length: steps + 1 }, (_, i) => i * ratio)
        .reverse()
        .slice(0, -1)
        .map((value) => value + offset)
    }
    case 'trailing':
      return arange(lastTimestep, 0, -trainSteps / steps).map((value) => round(value) - 1)
  }
}

/**
 * The index of the step with this timestep. If two steps have the timestep, it is the index of the second one, so that a run that starts
 * in the middle does not skip a sigma. -1 if no step has it.
 */
export function indexForTimestep(timesteps: readonly number[], timestep: number): number {
  const first = timesteps.indexOf(timestep)
  const second = first < 0 ? -1 : timesteps.indexOf(timestep, first + 1)
  return second < 0 ? first : second
}

/**
 * diffusers' `step_index` of the step at `timesteps[index]`. If the begin index was not set, a run begins at the step with the first
 * timestep. If two steps have this timestep, the run begins at the second one.
 */
export function stepIndex(timesteps: readonly number[], index: number, begin: number | null): number {
  return begin === null ? index + Math.max(0, indexForTimestep(timesteps, timesteps[0] ?? 0)) : index
}
