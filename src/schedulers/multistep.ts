/**
 * What the multistep solvers (DEIS, DPM-Solver, UniPC) share: α, σ and λ of a point of the schedule, what the model's output means there, and
 * where noise is added.
 */

import { indexForTimestep } from './timestep-spacing.js'
import type { StepTerm } from './types.js'

/** A point of the noise schedule: x = α x₀ + σ ε, λ = log(α/σ), which is infinite at the end. */
export interface SchedulePoint {
  readonly alpha: number
  readonly sigma: number
  readonly lambda: number
}

const { fround, sqrt } = Math

/** From a sigma of the schedule; with flow matching α = 1 − σ. */
export function schedulePoint(sigma: number, flow: boolean): SchedulePoint {
  const alpha = flow ? fround(1 - sigma) : fround(1 / fround(sqrt(fround(fround(sigma * sigma) + 1))))
  const scaled = flow ? sigma : fround(sigma * alpha)
  return { alpha, sigma: scaled, lambda: Math.log(alpha) - Math.log(scaled) }
}

export type MultistepPrediction = 'epsilon' | 'sample' | 'v_prediction' | 'flow_prediction'

function terms(sample: number, output: number): readonly StepTerm[] {
  return [
    [sample, 'sample'],
    [output, 'output'],
  ]
}

/** The model's output at a sample as a prediction of the image x₀, or of the noise ε. */
export function predictionTerms(
  { alpha, sigma }: SchedulePoint,
  prediction: MultistepPrediction,
  wanted: 'image' | 'noise',
): readonly StepTerm[] {
  if (wanted === 'image') {
    if (prediction === 'epsilon') return terms(1 / alpha, -sigma / alpha)
    if (prediction === 'v_prediction') return terms(alpha, -sigma)
    return prediction === 'flow_prediction' ? terms(1, -sigma) : terms(0, 1)
  }
  if (prediction === 'sample') return terms(1 / sigma, -alpha / sigma)
  return prediction === 'v_prediction' ? terms(sigma, alpha) : terms(0, 1)
}

/** What the prediction made in the step at an index is called. */
export function predictionName(index: number): string {
  return `prediction ${index}`
}

/** The names of the last `count` predictions up to that of the step at `index`. */
export function lastPredictions(index: number, count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => predictionName(index - i))
}

/** The place in the schedule at which a run that begins at `timestep` gets its noise: the last one where no step has the timestep. */
export function noisePlace(timesteps: readonly number[], timestep: number, begin: number | null): number {
  if (begin !== null) return begin
  const index = indexForTimestep(timesteps, timestep)
  return index < 0 ? timesteps.length - 1 : index
}
