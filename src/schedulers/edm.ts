/**
 * The EDM formulation (Karras et al. 2022, arXiv 2206.00364, table 1): the schedule of sigmas, and how a model's input, output and timestep
 * depend on sigma. The EDM schedulers share it; Playground v2.5 was trained with it.
 */

import { choice, integer, number } from './config.js'
import { float32, linspace } from './numpy.js'
import type { StepTerm } from './types.js'

const { exp, fround, log, sqrt } = Math

/** The most steps of a run. diffusers sets no limit. */
export const maxEdmSteps = 10_000

/** The config keys of both EDM schedulers. */
export const edmKeys = {
  sigma_min: number(0.002, 1e-6, 1e6),
  sigma_max: number(80, 1e-6, 1e6),
  sigma_data: number(0.5, 1e-6, 1e6),
  sigma_schedule: choice('karras', ['karras', 'exponential']),
  num_train_timesteps: integer(1000, 2, 100_000),
  prediction_type: choice('epsilon', ['epsilon', 'v_prediction']),
  rho: number(7, 1e-3, 1e3),
  final_sigmas_type: choice('zero', ['zero', 'sigma_min']),
}

/** The values of {@link edmKeys} that determine the schedule and the model's scales. */
export interface EdmConfig {
  readonly sigma_min: number
  readonly sigma_max: number
  readonly sigma_data: number
  readonly sigma_schedule: 'karras' | 'exponential'
  readonly prediction_type: 'epsilon' | 'v_prediction'
  readonly rho: number
}

/** The sigmas of a run, one for each step, in falling order and in float32. */
export function edmSigmas({ sigma_min: min, sigma_max: max, sigma_schedule: kind, rho }: EdmConfig, steps: number): number[] {
  // torch.linspace of one step gives its start only. So the only sigma is the largest in Karras' schedule and the smallest in the exponential one.
  if (kind === 'exponential')
    return float32(
      linspace(log(min), log(max), steps)
        .map((value) => exp(value))
        .reverse(),
    )
  const [from, to] = [max ** (1 / rho), min ** (1 / rho)]
  return float32(linspace(0, 1, steps).map((ramp) => (from + ramp * (to - from)) ** rho))
}

/** The timesteps that the model is called with. */
export function edmTimesteps(sigmas: readonly number[]): number[] {
  return sigmas.map((sigma) => fround(0.25 * fround(log(sigma))))
}

/** Standard deviation of the initial noise. */
export function edmInitialSigma({ sigma_max: max }: EdmConfig): number {
  return sqrt(max ** 2 + 1)
}

/** Standard deviation of a sample at `sigma`, in float32. */
function deviation({ sigma_data: data }: EdmConfig, sigma: number): number {
  return fround(sqrt(fround(fround(sigma * sigma) + data ** 2)))
}

/** diffusers' `precondition_inputs`. */
export function edmInputScale(config: EdmConfig, sigma: number): number {
  return fround(1 / deviation(config, sigma))
}

/** diffusers' `precondition_outputs`: the terms that convert the model's output at `sigma` to the image. */
export function edmOriginalTerms(config: EdmConfig, sigma: number): readonly StepTerm[] {
  const { sigma_data: data, prediction_type: prediction } = config
  const output = (sigma * data) / deviation(config, sigma)
  return [
    [data ** 2 / (sigma ** 2 + data ** 2), 'sample'],
    [prediction === 'epsilon' ? output : -output, 'output'],
  ]
}
