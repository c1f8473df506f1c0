/**
 * Functions that the multistep solvers (DEIS, DPM-Solver, UniPC) share: α, σ and λ at a point of the schedule, converting the model's output to
 * a prediction, and the point at which noise is added.
 */

import { indexForTimestep } from '../timestep-spacing.js'
import type { StepTerm } from '../types.js'

/** A point of the noise schedule: x = α x₀ + σ ε, and λ = log(α/σ), which is infinite at the end. */
export interface SchedulePoint {
  readonly alpha: number
  readonly sigma: number
  readonly lambda: number
  /** The sigma of the schedule itself: σ/α, or with flow matching σ. */
  readonly scheduled: number
}

const { fround, sqrt } = Math

/** Computes the point from a sigma of the schedule. With flow matching, α = 1 − σ. */
export function schedulePoint(sigma: number, flow: boolean): SchedulePoint {
  const alpha = flow ? fround(1 - sigma) : fround(1 / fround(sqrt(fround(fround(sigma * sigma) + 1))))
  const scaled = flow ? sigma : fround(sigma * alpha)
  return { alpha, sigma: scaled, lambda: Math.log(alpha) - Math.log(scaled), scheduled: sigma }
}

/** The values of `prediction_type` that the multistep solvers support. */
export type MultistepPrediction = 'epsilon' | 'sample' | 'v_prediction' | 'flow_prediction'

function terms(sample: number, output: number): readonly StepTerm[] {
  return [
    [sample, 'sample'],
    [output, 'output'],
  ]
}

/** The terms that convert the model's output at a sample to a prediction of the image x₀ or of the noise ε. */
export function predictionTerms(
  { alpha, sigma, scheduled }: SchedulePoint,
  prediction: MultistepPrediction,
  wanted: 'image' | 'noise',
): readonly StepTerm[] {
  if (wanted === 'image') {
    if (prediction === 'epsilon') return terms(1 / alpha, -sigma / alpha)
    if (prediction === 'v_prediction') return terms(alpha, -sigma)
    return prediction === 'flow_prediction' ? terms(1, -scheduled) : terms(0, 1)
  }
  if (prediction === 'sample') return terms(1 / sigma, -alpha / sigma)
  return prediction === 'v_prediction' ? terms(sigma, alpha) : terms(0, 1)
}

/** The name of the prediction of the step at an index. */
export function predictionName(index: number): string {
  return `prediction ${index}`
}

/** The names of the last `count` predictions, the newest first, starting at the step at `index`. */
export function lastPredictions(index: number, count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => predictionName(index - i))
}

/** The index of the sigma with which noise is added for a run that begins at `timestep`: the last index if no step has that timestep. */
export function noisePlace(timesteps: readonly number[], timestep: number, begin: number | null): number {
  if (begin !== null) return begin
  const index = indexForTimestep(timesteps, timestep)
  return index < 0 ? timesteps.length - 1 : index
}
