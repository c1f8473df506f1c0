/** The schedule that KDPM2 and its ancestral form share: between two steps, the model is called once more at a sigma between theirs. */

import { float32 } from '../numpy.js'
import { sigmaToTimestep } from '../sigma-schedules.js'

const { exp, fround, log } = Math

/**
 * The sigma halfway from `start` to `end` on a logarithmic scale, rounded as torch's `lerp` rounds it; 0 if one of them is 0.
 */
export function midpointSigma(start: number, end: number): number {
  if (start === 0 || end === 0) return 0
  const [from, to] = [fround(log(start)), fround(log(end))]
  return fround(exp(fround(to - fround(to - from) / 2)))
}

/** Puts the timestep of each sigma of `midpoints` between two timesteps. `training`: the training's sigmas, in rising order. */
export function withMidpoints(timesteps: readonly number[], midpoints: readonly number[], training: Float32Array): number[] {
  const logSigmas = training.map((sigma) => log(sigma))
  const between = float32(midpoints.map((sigma) => sigmaToTimestep(sigma, logSigmas)))
  return timesteps.flatMap((timestep, i) => (i === 0 ? [timestep] : [between[i - 1] ?? 0, timestep]))
}
