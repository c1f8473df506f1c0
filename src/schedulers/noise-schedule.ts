/**
 * The noise schedule of a model's training: the betas and the cumulative product of the alphas, in float32 as torch computes them (torch
 * accumulates the product in float64 and rounds each entry).
 * Source: `betas_for_alpha_bar` and `rescale_zero_terminal_snr` in diffusers; Lin et al. 2023, arXiv 2305.08891.
 */

import { CheckpointError, InputError } from '../errors.js'
import type { StepTerm } from './types.js'

/** The values of `beta_schedule`. */
export type BetaSchedule = 'linear' | 'scaled_linear' | 'squaredcos_cap_v2' | 'exp'

/** The config keys that determine the noise schedule. */
export interface NoiseScheduleConfig {
  readonly num_train_timesteps: number
  readonly beta_start: number
  readonly beta_end: number
  readonly beta_schedule: BetaSchedule
  readonly trained_betas: readonly number[] | null
  readonly rescale_betas_zero_snr?: boolean
}

const { fround, sqrt } = Math

/** `torch.linspace(start, end, count, dtype=float32)`, which computes from both ends towards the middle. */
export function torchLinspace(start: number, end: number, count: number): Float32Array {
  const from = fround(start)
  const to = fround(end)
  const values = new Float32Array(count)
  const step = count > 1 ? fround(fround(to - from) / (count - 1)) : 0
  const half = Math.floor(count / 2)
  for (let i = 0; i < count; i++) values[i] = i < half ? from + step * i : to - step * (count - i - 1)
  if (count === 1) values[0] = from
  return values
}

function betasForAlphaBar(count: number, alphaBar: (t: number) => number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999))
}

function makeBetas(config: NoiseScheduleConfig): Float32Array {
  const { beta_start: start, beta_end: end, num_train_timesteps: count, trained_betas: trained } = config
  if (trained !== null) {
    if (trained.length !== count)
      throw new CheckpointError(
        'invalid-config',
        `trained_betas has ${trained.length} values, but num_train_timesteps is ${count}.`,
        {
          key: 'trained_betas',
          actual: trained.length,
          expected: count,
        },
      )
    return Float32Array.from(trained)
  }
  switch (config.beta_schedule) {
    case 'linear':
      return torchLinspace(start, end, count)
    case 'scaled_linear':
      return torchLinspace(sqrt(start), sqrt(end), count).map((value) => value * value)
    case 'squaredcos_cap_v2':
      return betasForAlphaBar(count, (t) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2)
    case 'exp':
      return betasForAlphaBar(count, (t) => Math.exp(t * -12))
  }
}

/** `torch.cumprod` of float32 values; torch keeps the product in float64. */
function cumulativeProduct(values: Float32Array): Float32Array {
  let product = 1
  return values.map((value) => (product *= value))
}

/** Rescales the schedule so that no signal is left at its end. */
function rescaleZeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeProduct(betas.map((beta) => 1 - beta)).map((value) => sqrt(value))
  const first = roots[0] ?? 1
  const last = roots.at(-1) ?? 0
  const factor = fround(first / fround(first - last))
  const bars = roots.map((root) => fround(fround(root - last) * factor)).map((root) => root * root)
  return bars.map((bar, i) => 1 - (i === 0 ? bar : fround(bar / (bars[i - 1] ?? 1))))
}

/** Computes ᾱ of each training timestep, in float32. */
export function alphasCumprod(config: NoiseScheduleConfig): Float32Array {
  let betas = makeBetas(config)
  if (config.rescale_betas_zero_snr === true) betas = rescaleZeroTerminalSnr(betas)
  return cumulativeProduct(betas.map((beta) => 1 - beta))
}

/** Computes ᾱ for the schedulers that work with sigmas. If the last value would be 0, it is 2^-24 instead, so that no sigma is infinite. */
export function alphasCumprodForSigmas(config: NoiseScheduleConfig): Float32Array {
  const alphas = alphasCumprod(config)
  if (config.rescale_betas_zero_snr === true) alphas[alphas.length - 1] = 2 ** -24
  return alphas
}

/** Computes σ = √((1 − ᾱ)/ᾱ) of each training timestep, in rising order, in float32. */
export function trainingSigmas(alphas: Float32Array): Float32Array {
  return alphas.map((alpha) => sqrt(fround(fround(1 - alpha) / alpha)))
}

/** The number of training timesteps whose λ = log(√ᾱ/√(1 − ᾱ)) is at least `min`: diffusers' `lambda_min_clipped`. */
export function countAtLeast(alphas: Float32Array, min: number): number {
  return alphas.filter((alpha) => logRoot(alpha) - logRoot(1 - alpha) >= min).length
}

function logRoot(value: number): number {
  return fround(Math.log(fround(sqrt(value))))
}

/** Returns the entry of a schedule for a timestep. @throws InputError `timestep` if the schedule has none */
export function at(values: ArrayLike<number>, timestep: number): number {
  const value = values[timestep]
  if (value === undefined)
    throw new InputError('timestep', `Timestep ${timestep} is not one of the ${values.length} that the model was trained with.`, {
      timestep,
      allowed: values.length,
    })
  return value
}

/** Computes `signal` · original + `spread` · noise, rounded to float32 once. */
export function mixNoise(original: Float32Array, noise: Float32Array, signal: number, spread: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(original, (value, i) => signal * value + spread * (noise[i] ?? 0))
}

/** The factors of the image and of the noise in a sample at the timestep whose ᾱ is `alpha`. */
export function alphaNoiseLevel(alpha: number): { readonly signal: number; readonly noise: number } {
  return { signal: fround(sqrt(alpha)), noise: fround(sqrt(fround(1 - alpha))) }
}

/**
 * The factor that takes the place of 1/0 if the image will be clipped. A difference of sample and noise that is above the clipping bound
 * divided by 2^64 exceeds the bound when it is multiplied by this factor. Multiplying by a power of two causes no rounding.
 */
const beyondClipping = 2 ** 64

/**
 * The terms that convert the model's output at a sample to the image x₀, given √ᾱ and √(1 − ᾱ). With `epsilon` and an ᾱ of 0, the image is
 * infinite. If the image will be `clipped`, the terms are finite and give the same clipped values.
 */
export function originalTerms(
  prediction: 'epsilon' | 'sample' | 'v_prediction',
  rootAlpha: number,
  rootBeta: number,
  clipped = false,
): readonly StepTerm[] {
  if (prediction === 'sample') return [[1, 'output']]
  if (prediction === 'epsilon' && rootAlpha === 0 && clipped)
    return [
      [beyondClipping, 'sample'],
      [-beyondClipping * rootBeta, 'output'],
    ]
  const [sample, output] = prediction === 'epsilon' ? [1 / rootAlpha, -rootBeta / rootAlpha] : [rootAlpha, -rootBeta]
  return [
    [sample, 'sample'],
    [output, 'output'],
  ]
}

/** The terms that convert the model's output at a sample to the noise ε, given √ᾱ and √(1 − ᾱ). */
export function noiseTerms(
  prediction: 'epsilon' | 'sample' | 'v_prediction',
  rootAlpha: number,
  rootBeta: number,
): readonly StepTerm[] {
  if (prediction === 'epsilon') return [[1, 'output']]
  const [sample, output] = prediction === 'sample' ? [1 / rootBeta, -rootAlpha / rootBeta] : [rootBeta, rootAlpha]
  return [
    [sample, 'sample'],
    [output, 'output'],
  ]
}
