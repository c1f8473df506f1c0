/**
 * The updates of DPM-Solver (arXiv 2206.00927) and DPM-Solver++ (arXiv 2211.01095), deterministic and stochastic, which the multistep, the
 * singlestep and the EDM scheduler share. An update is a sum of the sample, of divided differences of the predictions, and of noise.
 */

import { lastPredictions, predictionName, type SchedulePoint } from './multistep.js'
import type { StepPlan, StepTerm } from '../types.js'

/** The values of `algorithm_type`. Those with `++` predict the image, the others the noise; those with `sde` add noise in each step. */
export type DpmAlgorithm = 'dpmsolver' | 'dpmsolver++' | 'sde-dpmsolver' | 'sde-dpmsolver++'

/** The factors of one update: of the sample, of the divided differences D0, D1, D2 of the predictions, and of the noise. */
export interface DpmFactors {
  readonly sample: number
  readonly d: readonly [number, number, number]
  readonly noise: number
}

const { exp, sqrt } = Math

/** The factors of an update from `here` to `next`. `exact`: D1 is integrated exactly; otherwise its factor is half of D0's (midpoint). */
export function dpmFactors(algorithm: DpmAlgorithm, here: SchedulePoint, next: SchedulePoint, exact: boolean): DpmFactors {
  const h = next.lambda - here.lambda
  switch (algorithm) {
    case 'dpmsolver++': {
      const phi = exp(-h) - 1
      const d0 = -next.alpha * phi
      return {
        sample: next.sigma / here.sigma,
        d: [d0, exact ? next.alpha * (phi / h + 1) : 0.5 * d0, -next.alpha * ((phi + h) / h ** 2 - 0.5)],
        noise: 0,
      }
    }
    case 'dpmsolver': {
      const phi = exp(h) - 1
      const d0 = -next.sigma * phi
      return {
        sample: next.alpha / here.alpha,
        d: [d0, exact ? -next.sigma * (phi / h - 1) : 0.5 * d0, -next.sigma * ((phi - h) / h ** 2 - 0.5)],
        noise: 0,
      }
    }
    case 'sde-dpmsolver++': {
      const phi = 1 - exp(-2 * h)
      const d0 = next.alpha * phi
      return {
        sample: (next.sigma / here.sigma) * exp(-h),
        d: [d0, exact ? next.alpha * (phi / (-2 * h) + 1) : 0.5 * d0, next.alpha * ((phi - 2 * h) / (2 * h) ** 2 - 0.5)],
        noise: next.sigma * sqrt(phi),
      }
    }
    case 'sde-dpmsolver': {
      const phi = exp(h) - 1
      const d0 = -2 * next.sigma * phi
      return {
        sample: next.alpha / here.alpha,
        d: [d0, exact ? -2 * next.sigma * (phi / h - 1) : 0.5 * d0, 0],
        noise: next.sigma * sqrt(exp(2 * h) - 1),
      }
    }
  }
}

/** The config keys on which the order of a multistep update depends. */
export interface MultistepConfig {
  readonly solver_order: number
  readonly solver_type: string
  readonly lower_order_final: boolean
  readonly euler_at_final: boolean
  readonly final_sigmas_type: 'zero' | 'sigma_min'
}

/** One step of a multistep solver. */
export interface MultistepStep {
  readonly config: MultistepConfig
  readonly algorithm: DpmAlgorithm
  /** The index of the step, and its position in the schedule. */
  readonly index: number
  readonly place: number
  /** The number of steps that ran before this one, and the number of steps in the whole schedule. */
  readonly before: number
  readonly steps: number
  readonly point: (place: number) => SchedulePoint
  /** The terms that convert the model's output to the prediction. */
  readonly prediction: readonly StepTerm[]
}

/** diffusers' `step` of the multistep solvers. */
export function multistepPlan({ config, algorithm, index, place, before, steps, point, prediction }: MultistepStep): StepPlan {
  const { solver_order: solverOrder } = config
  const done = Math.min(solverOrder, before)
  const few = config.lower_order_final && steps < 15
  const firstAtEnd = place === steps - 1 && (config.euler_at_final || few || config.final_sigmas_type === 'zero')
  const secondAtEnd = place === steps - 2 && few
  const order = solverOrder === 1 || done < 1 || firstAtEnd ? 1 : solverOrder === 2 || done < 2 || secondAtEnd ? 2 : 3
  const next = point(place + 1)
  const points = Array.from({ length: order }, (_, i) => point(place - i))
  const [here = next] = points
  // The second-order midpoint solver uses half of D0's factor for D1. Heun's solver and the third order integrate D1 exactly.
  const factors = dpmFactors(algorithm, here, next, order === 3 || config.solver_type === 'heun')
  return {
    sums: [
      { name: predictionName(index), terms: prediction },
      {
        name: 'next',
        terms: [
          [factors.sample, 'sample'],
          ...multistepWeights(factors, next, points).map((weight, i): StepTerm => [weight, predictionName(index - i)]),
          [factors.noise, 'noise'],
        ],
      },
    ],
    keep: lastPredictions(index, Math.min(solverOrder - 1, done + 1)),
  }
}

/** Converts the factors of the divided differences to factors of the predictions at `points`, the newest first. */
function multistepWeights(
  { d: [d0, d1, d2] }: DpmFactors,
  next: SchedulePoint,
  [here = next, before, oldest]: readonly SchedulePoint[],
): readonly number[] {
  if (before === undefined) return [d0]
  const h = next.lambda - here.lambda
  const r0 = (here.lambda - before.lambda) / h
  if (oldest === undefined) return [d0 + d1 / r0, -d1 / r0]
  const r1 = (before.lambda - oldest.lambda) / h
  // D1 = D10 + r0/(r0+r1) (D10 − D11), D2 = (D10 − D11)/(r0+r1), with D10 = (m0 − m1)/r0 and D11 = (m1 − m2)/r1.
  const d10 = d1 * (1 + r0 / (r0 + r1)) + d2 / (r0 + r1)
  const d11 = -(d1 * r0 + d2) / (r0 + r1)
  return [d0 + d10 / r0, -d10 / r0 + d11 / r1, -d11 / r1]
}

/**
 * The factors of the predictions in a singlestep update, the newest first. `points` are the points of the last predictions, also the newest
 * first. The update goes from the oldest point to `next`.
 */
export function singlestepWeights(
  { d: [d0, d1, d2] }: DpmFactors,
  next: SchedulePoint,
  [newest = next, middle, oldest]: readonly SchedulePoint[],
  midpoint: boolean,
): readonly number[] {
  if (middle === undefined) return [d0]
  if (oldest === undefined) {
    const r0 = (newest.lambda - middle.lambda) / (next.lambda - middle.lambda)
    return [d1 / r0, d0 - d1 / r0]
  }
  const h = next.lambda - oldest.lambda
  const r0 = (newest.lambda - oldest.lambda) / h
  const r1 = (middle.lambda - oldest.lambda) / h
  // D10 = (m1 − m2)/r1 and D11 = (m0 − m2)/r0. The midpoint solver uses D11 for D1, and no D2.
  const d10 = midpoint ? 0 : (d1 * r0 - 2 * d2) / (r0 - r1)
  const d11 = midpoint ? d1 : (-d1 * r1 + 2 * d2) / (r0 - r1)
  return [d11 / r0, d10 / r1, d0 - d10 / r1 - d11 / r0]
}
