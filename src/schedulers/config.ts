/**
 * Reads scheduler configs. Each key of a class has a reader with diffusers' default; a reader refuses a value that it does not support, with
 * the key's name. Keys that a class does not have are ignored, as in diffusers' `from_config`.
 */

import { CheckpointError, UnsupportedError } from '../errors.js'
import { isTruthy } from '../util/truthy.js'
import type { SchedulerConfig } from './types.js'

/** A key of a class, as errors name it. */
interface Named {
  readonly className: string
  readonly key: string
}

/** A key of a scheduler's config that is being read. */
interface Key extends Named {
  /** The config that the key is in. */
  readonly config: SchedulerConfig
  /** Records that the given value has no effect. */
  readonly ignore: () => void
}

/** Checks the value of a key and returns it. `value` is `undefined` if the config does not contain the key. */
export type Reader<T> = (value: unknown, key: Key) => T
/** The keys that a scheduler class has, each with its reader. */
export type ConfigSpec = Readonly<Record<string, Reader<unknown>>>
/** The config that {@link readSchedulerConfig} returns for a spec. */
export type ConfigOf<S extends ConfigSpec> = { readonly [K in keyof S]: ReturnType<S[K]> }

function show(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 200)
}

function invalid({ className, key }: Named, value: unknown, allowed: string): CheckpointError {
  return new CheckpointError('invalid-config', `${key} of ${className} is ${show(value)}; expected ${allowed}.`, {
    className,
    key,
    value: show(value),
    allowed,
  })
}

/** The error for a value that Aquatint does not support; diffusers may support it. */
export function unsupported({ className, key }: Named, value: unknown, allowed: readonly string[]): UnsupportedError {
  return new UnsupportedError(
    'unsupported-config',
    `${key} ${show(value)} of ${className} is not supported; supported: ${allowed.join(', ')}.`,
    { className, key, value: show(value), allowed },
  )
}

/** In Python, true and false are the numbers 1 and 0. */
function asNumber(value: unknown): unknown {
  return typeof value === 'boolean' ? Number(value) : value
}

/** Reads a number from `min` to `max`. */
export function number(fallback: number, min = -1e9, max = 1e9): Reader<number> {
  return (given = fallback, key) => {
    const value = asNumber(given)
    if (typeof value !== 'number' || !(value >= min && value <= max)) throw invalid(key, value, `a number from ${min} to ${max}`)
    return value
  }
}

/** Reads a number from `min` to `max`, or `null`, which is also the default. */
export function optionalNumber(min = -1e9, max = 1e9): Reader<number | null> {
  return (value = null, key) => (value === null ? null : number(0, min, max)(value, key))
}

/** Reads a whole number from `min` to `max`. */
export function integer(fallback: number, min: number, max: number): Reader<number> {
  return (given = fallback, key) => {
    const value = asNumber(given)
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max)
      throw invalid(key, value, `a whole number from ${min} to ${max}`)
    return value as number
  }
}

/** Reads what Python takes for true or false: `null`, 0 and empty strings and lists are false, all other strings are true. */
export function flag(fallback: boolean): Reader<boolean> {
  return (value) => isTruthy(value, fallback)
}

/** Reads a key that diffusers reads only if the flag `other` is true. Otherwise it accepts any value and returns the default. */
export function onlyWith<T>(other: string, fallback: boolean, read: Reader<T>): Reader<T> {
  return (value, key) => {
    if (isTruthy(key.config[other], fallback)) return read(value, key)
    const usual = read(undefined, key)
    if (value !== usual) key.ignore()
    return usual
  }
}

/** Reads one of the supported strings. */
export function choice<const T extends string>(fallback: T, supported: readonly T[]): Reader<T> {
  return (value = fallback, key) => {
    const found = supported.find((candidate) => candidate === value)
    if (found === undefined) throw unsupported(key, value, supported)
    return found
  }
}

/** Reads a list of 1 to `maxLength` finite numbers, or `null`, which is also the default. */
export function optionalNumbers(maxLength: number): Reader<readonly number[] | null> {
  return (value = null, key) => {
    if (value === null) return null
    if (!Array.isArray(value) || value.length === 0 || value.length > maxLength || !value.every((item) => Number.isFinite(item)))
      throw invalid(key, value, `a list of 1 to ${maxLength} numbers`)
    return value as readonly number[]
  }
}

/** Reads a key of which Aquatint supports only the default. */
export function only(allowed: boolean | null): Reader<boolean | null> {
  return (value = allowed, key) => {
    // Python takes other values for false as well, such as 0.
    if (value !== allowed && (allowed === true || isTruthy(value, false))) throw unsupported(key, value, [String(allowed)])
    return allowed
  }
}

/** Accepts any value of a key that has an effect only for the strings of `refused`, which are not supported. */
export function except(...refused: readonly string[]): Reader<unknown> {
  return (value = null, key) => {
    if (refused.some((name) => name === value)) throw unsupported(key, value, [`any value but ${refused.join(' and ')}`])
    key.ignore()
    return value
  }
}

/** Reads `usual` or one of the strings of `special`; any other value has the same effect as `usual`. */
export function anyBut<const T extends string>(usual: T, special: readonly T[]): Reader<T> {
  return (value = usual, key) => {
    const found = special.find((candidate) => candidate === value)
    if (found === undefined && value !== usual) key.ignore()
    return found ?? usual
  }
}

/** Accepts any value of a key that has no effect, and that diffusers writes as `usual`. */
export function unused(usual: unknown): Reader<unknown> {
  return (value = usual, key) => {
    if (value !== usual) key.ignore()
    return value
  }
}

/**
 * The keys that describe the noise schedule of the training. A class can pass its own defaults; the defaults here are those of most
 * classes.
 */
export function trainingKeys({
  start = 0.0001,
  end = 0.02,
  schedule = 'linear',
}: { readonly start?: number; readonly end?: number; readonly schedule?: 'linear' | 'scaled_linear' } = {}) {
  return {
    num_train_timesteps: integer(1000, 2, 100_000),
    beta_start: number(start, 0, 1),
    beta_end: number(end, 0, 1),
    beta_schedule: choice(schedule, ['linear', 'scaled_linear', 'squaredcos_cap_v2']),
    trained_betas: optionalNumbers(100_000),
  }
}

/**
 * diffusers reads the offset only with the spacing `leading`: it adds the offset to the timesteps, and fails if the offset is null. Here
 * null counts as 0.
 */
function stepsOffset(spacing: 'linspace' | 'leading'): Reader<number> {
  return (value, key) => {
    const given = value === null ? undefined : value
    if ((key.config['timestep_spacing'] ?? spacing) === 'leading' || (Number.isInteger(given) && (given as number) >= 0))
      return integer(0, 0, 1000)(given, key)
    if (given !== undefined) key.ignore()
    return 0
  }
}

/** The keys that distribute a run's timesteps over those of the training. */
export function spacingKeys(fallback: 'linspace' | 'leading') {
  return {
    timestep_spacing: choice(fallback, ['linspace', 'leading', 'trailing']),
    steps_offset: stepsOffset(fallback),
  }
}

/** The keys that choose another distribution of sigmas; at most one of them may be true. */
export const sigmaKeys = {
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: flag(false),
}

/** Dynamic thresholding, which Aquatint does not support. The last two keys have no effect without it. */
export const unsupportedThresholding = {
  thresholding: only(false),
  dynamic_thresholding_ratio: unused(0.995),
  sample_max_value: unused(1),
}

/** What {@link readSchedulerConfig} returns. */
export interface ReadConfig<S extends ConfigSpec> {
  readonly config: ConfigOf<S>
  /** The keys whose values have no effect, except values that are null, false or the one that diffusers writes by default. */
  readonly unusedKeys: readonly string[]
}

/** Reads all keys of `spec`. @throws CheckpointError `invalid-config`, UnsupportedError `unsupported-config` */
export function readSchedulerConfig<S extends ConfigSpec>(className: string, config: SchedulerConfig, spec: S): ReadConfig<S> {
  const unusedKeys: string[] = []
  const read = Object.fromEntries(
    Object.entries(spec).map(([key, reader]) => {
      const value = Object.hasOwn(config, key) ? config[key] : undefined
      const saysNothing = value === undefined || value === null || value === false
      const ignore = () => {
        if (!saysNothing) unusedKeys.push(key)
      }
      return [key, reader(value, { className, key, config, ignore })]
    }),
  ) as ConfigOf<S>
  return { config: read, unusedKeys }
}
