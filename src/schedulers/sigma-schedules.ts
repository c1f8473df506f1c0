/**
 * Functions for the schedulers that work with sigmas: the optional distributions of a run's sigmas (Karras et al. 2022, arXiv 2206.00364;
 * exponential; quantiles of a Beta distribution, arXiv 2407.12173; the shifted sigmas of flow matching), the timestep of a sigma, the scale
 * of a sample at a sigma, and converting the model's output at a sigma. They compute in float64 unless their comment says otherwise.
 */

import { CheckpointError } from '../errors.js'
import { linspace } from './numpy.js'
import type { TimestepSpacing } from './timestep-spacing.js'
import type { StepTerm } from './types.js'

const { fround, sqrt } = Math

/** The smallest and the largest sigma of a run. */
export interface SigmaRange {
  readonly min: number
  readonly max: number
}

/** The config keys that choose a distribution of sigmas. */
export interface SigmaScheduleConfig {
  readonly use_karras_sigmas: boolean
  readonly use_exponential_sigmas: boolean
  readonly use_beta_sigmas: boolean
}

/** @throws CheckpointError `invalid-config` if a config sets more than one of the three keys */
export function checkSigmaSchedule(className: string, config: SigmaScheduleConfig): void {
  const { use_beta_sigmas: beta, use_exponential_sigmas: exponential, use_karras_sigmas: karras } = config
  if (Number(beta) + Number(exponential) + Number(karras) > 1)
    throw new CheckpointError('invalid-config', `${className} can use only one of Karras, exponential and beta sigmas.`, {
      className,
    })
}

/** The sigmas of the distribution that the config chooses, falling from `max` to `min`; null if it chooses none. */
export function convertSigmas(config: SigmaScheduleConfig, { min, max }: SigmaRange, steps: number): number[] | null {
  if (config.use_karras_sigmas) {
    const rho = 7
    const from = max ** (1 / rho)
    const to = min ** (1 / rho)
    return linspace(0, 1, steps).map((ramp) => (from + ramp * (to - from)) ** rho)
  }
  if (config.use_exponential_sigmas) return linspace(Math.log(max), Math.log(min), steps).map((value) => Math.exp(value))
  if (config.use_beta_sigmas) return linspace(0, 1, steps).map((ramp) => min + betaQuantile(1 - ramp, 0.6, 0.6) * (max - min))
  return null
}

/** How the result of an operation is rounded: `Math.fround` where numpy computes in float32. */
export type Rounding = (value: number) => number
const inFloat64: Rounding = (value) => value

/** Shifts σ towards noise: diffusers' `flow_shift`. */
export function shiftSigma(sigma: number, shift: number, round = inFloat64): number {
  return round(round(round(shift) * sigma) / round(1 + round(round(shift - 1) * sigma)))
}

/** Shifts a flow's σ towards noise by `mu`, which grows with the image size: diffusers' `time_shift`. */
export function timeShiftSigma(sigma: number, mu: number, kind: 'exponential' | 'linear', round = inFloat64): number {
  const weight = round(kind === 'exponential' ? Math.exp(mu) : mu)
  return round(weight / round(weight + round(round(1 / sigma) - 1)))
}

/** Stretches the sigmas' distances from 1 so that the last sigma is `terminal`. Returns them unchanged if `terminal` is null or 0. */
export function stretchToTerminal(sigmas: number[], terminal: number | null, round = inFloat64): number[] {
  if (terminal === null || terminal === 0) return sigmas
  const factor = round(round(1 - (sigmas.at(-1) ?? 0)) / round(1 - terminal))
  return sigmas.map((sigma) => round(1 - round(round(1 - sigma) / factor)))
}

/** The sigmas of a run of DEIS or DPM-Solver with `use_flow_sigmas`, in falling order. */
export function flowSigmas(steps: number, trainSteps: number, shift: number): number[] {
  return linspace(1, 1 / trainSteps, steps + 1)
    .map((alpha) => shiftSigma(1 - alpha, shift))
    .reverse()
    .slice(0, -1)
}

/** The fractional timestep at which the training had `sigma`. `logSigmas` are the training's, in rising order, in float32. */
export function sigmaToTimestep(sigma: number, logSigmas: ArrayLike<number>): number {
  const logSigma = Math.log(Math.max(sigma, 1e-10))
  let low = 0
  for (let i = 0; i < logSigmas.length; i++) if (logSigma >= (logSigmas[i] ?? 0)) low = i
  low = Math.min(low, logSigmas.length - 2)
  const below = logSigmas[low] ?? 0
  const above = logSigmas[low + 1] ?? 0
  const weight = Math.min(1, Math.max(0, (below - logSigma) / fround(below - above)))
  return (1 - weight) * low + weight * (low + 1)
}

/** `scipy.stats.beta.ppf(p, a, b)`: the x at which the regularized incomplete beta function is p. */
export function betaQuantile(p: number, a: number, b: number): number {
  // Compute on the side of the smaller tail, so that quantiles close to 1 do not lose precision.
  return p > regularizedBeta(0.5, a, b) ? 1 - lowerQuantile(1 - p, b, a) : lowerQuantile(p, a, b)
}

/** The quantile for a p whose x is at most 1/2, by bisection until no float64 number is between the bounds. */
function lowerQuantile(p: number, a: number, b: number): number {
  let low = 0
  let high = 0.5
  if (p <= 0) return 0
  for (;;) {
    const middle = (low + high) / 2
    if (middle === low || middle === high) return middle
    if (regularizedBeta(middle, a, b) < p) low = middle
    else high = middle
  }
}

/** I_x(a, b) for x ≤ 1/2 by its power series: x^a / (a B(a, b)) · Σ. Source: Abramowitz & Stegun 26.5.4. */
function regularizedBeta(x: number, a: number, b: number): number {
  let term = 1
  let sum = 1 / a
  for (let n = 1; n < 200; n++) {
    term *= ((n - b) / n) * x
    const next = sum + term / (a + n)
    if (next === sum) break
    sum = next
  }
  return (x ** a * sum * gamma(a + b)) / (gamma(a) * gamma(b))
}

/** Γ(x) for x > 0 by Lanczos' approximation (g = 7, nine terms), accurate to 15 digits. */
function gamma(x: number): number {
  if (x < 0.5) return Math.PI / (Math.sin(Math.PI * x) * gamma(1 - x))
  const z = x - 1
  const series = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
    -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ].reduce((sum, coefficient, i) => sum + (i === 0 ? coefficient : coefficient / (z + i)), 0)
  const t = z + 7.5
  return Math.sqrt(2 * Math.PI) * t ** (z + 0.5) * Math.exp(-t) * series
}

/** √(σ² + 1), the standard deviation of a sample at σ, in float32. */
function sampleDeviation(sigma: number): number {
  return fround(sqrt(fround(fround(sigma * sigma) + 1)))
}

/** diffusers' `scale_model_input` in terms of sigma: it scales the model's input to a standard deviation of 1. */
export function sigmaInputScale(sigma: number): number {
  return 1 / sampleDeviation(sigma)
}

/** diffusers' `init_noise_sigma`: the largest sigma, or with `leading` spacing the standard deviation of x₀ + σ ε at that sigma. */
export function initialSigma(sigmas: readonly number[], spacing: TimestepSpacing): number {
  const max = Math.max(...sigmas)
  return spacing === 'leading' ? sampleDeviation(max) : max
}

/** The terms that convert the model's output to the image x₀ in terms of sigma, where the sample is x₀ + σ ε. */
export function sigmaOriginalTerms(prediction: 'epsilon' | 'sample' | 'v_prediction', sigma: number): readonly StepTerm[] {
  if (prediction === 'sample') return [[1, 'output']]
  const variance = fround(fround(sigma * sigma) + 1)
  const [sample, output] = prediction === 'epsilon' ? [1, -sigma] : [1 / variance, fround(-sigma / fround(sqrt(variance)))]
  return [
    [sample, 'sample'],
    [output, 'output'],
  ]
}
