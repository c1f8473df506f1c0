/**
 * Reads scheduler configs: each key has a reader with diffusers' default, and what a reader does not know is refused by name. Keys
 * that a class does not have are not looked at, as in diffusers' `from_config`.
 */

import { CheckpointError, UnsupportedError } from '../errors.js'
import type { SchedulerConfig } from './types.js'

interface Key {
  readonly className: string
  readonly key: string
}

/** Turns the value of a key (`undefined` where the config has none) into a checked one. */
export type Reader<T> = (value: unknown, key: Key) => T
export type ConfigSpec = Readonly<Record<string, Reader<unknown>>>
export type ConfigOf<S extends ConfigSpec> = { readonly [K in keyof S]: ReturnType<S[K]> }

function show(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 200)
}

function invalid({ className, key }: Key, value: unknown, allowed: string): CheckpointError {
  return new CheckpointError('invalid-config', `${key} of ${className} is ${show(value)}; expected ${allowed}.`, {
    className,
    key,
    value: show(value),
    allowed,
  })
}

/** The error for a value that diffusers may know and Aquatint does not. */
export function unsupported({ className, key }: Key, value: unknown, allowed: readonly string[]): UnsupportedError {
  return new UnsupportedError(
    'unsupported-config',
    `${key} ${show(value)} of ${className} is not supported; supported: ${allowed.join(', ')}.`,
    { className, key, value: show(value), allowed },
  )
}

/** A finite number within bounds. */
export function number(fallback: number, min = -1e9, max = 1e9): Reader<number> {
  return (value = fallback, key) => {
    if (typeof value !== 'number' || !(value >= min && value <= max)) throw invalid(key, value, `a number from ${min} to ${max}`)
    return value
  }
}

/** A number, `null` or nothing. */
export function optionalNumber(min = -1e9, max = 1e9): Reader<number | null> {
  return (value = null, key) => (value === null ? null : number(0, min, max)(value, key))
}

/** A whole number within bounds. */
export function integer(fallback: number, min: number, max: number): Reader<number> {
  return (value = fallback, key) => {
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max)
      throw invalid(key, value, `a whole number from ${min} to ${max}`)
    return value as number
  }
}

/** true or false; `null` counts as false, as in Python. */
export function flag(fallback: boolean): Reader<boolean> {
  return (value = fallback, key) => {
    if (value === null) return false
    if (typeof value !== 'boolean') throw invalid(key, value, 'true or false')
    return value
  }
}

/** One of some words. */
export function word<const T extends string>(fallback: T, supported: readonly T[]): Reader<T> {
  return (value = fallback, key) => {
    const found = supported.find((candidate) => candidate === value)
    if (found === undefined) throw unsupported(key, value, supported)
    return found
  }
}

/** A list of numbers, `null` or nothing. */
export function optionalNumbers(maxLength: number): Reader<readonly number[] | null> {
  return (value = null, key) => {
    if (value === null) return null
    if (!Array.isArray(value) || value.length === 0 || value.length > maxLength || !value.every((item) => Number.isFinite(item)))
      throw invalid(key, value, `a list of 1 to ${maxLength} numbers`)
    return value as readonly number[]
  }
}

/** A key that only its default is supported of. */
export function only(allowed: boolean | null): Reader<boolean | null> {
  return (value = allowed, key) => {
    if (value !== allowed && !(allowed === false && value === null)) throw unsupported(key, value, [String(allowed)])
    return allowed
  }
}

/** A key without a meaning unless another one is set which is refused. */
export const unused: Reader<unknown> = (value = null) => value

/** Reads all keys of `spec`. @throws CheckpointError `invalid-config`, UnsupportedError `unsupported-config` */
export function readConfig<S extends ConfigSpec>(className: string, config: SchedulerConfig, spec: S): ConfigOf<S> {
  return Object.fromEntries(
    Object.entries(spec).map(([key, read]) => [
      key,
      read(Object.hasOwn(config, key) ? config[key] : undefined, { className, key }),
    ]),
  ) as ConfigOf<S>
}
