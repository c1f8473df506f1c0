/**
 * Reads a `config.json` key by key. The definition of a class reads each key that the class has in diffusers or transformers, or declares
 * that the key does not change the result. A value that is not supported is refused, with an error that names the key. A fixture holds the
 * list of these keys. Keys that the class does not have are ignored, as in diffusers and transformers, and
 * {@link ConfigReader.finish} returns them. Configs are untrusted, so every number is checked against bounds before it becomes a size.
 */

import type { Config } from '../checkpoint/types.js'
import { CheckpointError, UnsupportedError, type ErrorDetail } from '../errors.js'
import { isTruthy } from '../util/truthy.js'

/** The least and the greatest value that a number may have. */
export interface Bounds {
  readonly min: number
  readonly max: number
}

/** Keys that any config may have and that do not change the network. */
const everywhere = [
  '_class_name',
  '_diffusers_version',
  '_name_or_path',
  'architectures',
  'model_type',
  'torch_dtype',
  'dtype',
  'transformers_version',
]

/** A config, and which of its keys have been read. */
export class ConfigReader {
  readonly #className: string
  readonly #config: Config
  readonly #seen = new Set(everywhere)
  readonly #unused = new Map<string, unknown>()

  constructor(className: string, config: Config) {
    this.#className = className
    this.#config = config
  }

  /** The value of `key`, which may be null; undefined when it is missing. */
  raw(key: string): unknown {
    this.#seen.add(key)
    return Object.hasOwn(this.#config, key) ? this.#config[key] : undefined
  }

  /** A whole number; `fallback` when missing. null is invalid, as None is in Python. */
  integer(key: string, fallback: number | undefined, bounds: Bounds): number {
    const value = this.#given(key, fallback)
    if (!isWithin(value, bounds) || !Number.isInteger(value)) throw this.invalid(key, `a whole number ${range(bounds)}`)
    return value
  }

  /** A whole number, or null when null or missing. */
  optionalInteger(key: string, bounds: Bounds): number | null {
    return (this.raw(key) ?? null) === null ? null : this.integer(key, undefined, bounds)
  }

  /** A finite number; `fallback` when missing. */
  number(key: string, fallback: number | undefined, bounds: Bounds): number {
    const value = this.#given(key, fallback)
    if (!isWithin(value, bounds)) throw this.invalid(key, `a number ${range(bounds)}`)
    return value
  }

  /** Whether the value is truthy in Python, as diffusers tests it: null counts as false. `fallback` when missing. */
  boolean(key: string, fallback: boolean): boolean {
    return isTruthy(this.raw(key), fallback)
  }

  /** The value, with true and false replaced by 1 and 0, as in Python. */
  #given(key: string, fallback: unknown): unknown {
    const value = this.raw(key)
    return value === undefined ? fallback : asNumber(value)
  }

  /** One of `allowed`; `fallback` when missing. Anything else is refused as unsupported. */
  oneOf<Value extends string | number | boolean | null>(key: string, fallback: Value, allowed: readonly Value[]): Value {
    const given = this.raw(key)
    const value = given === undefined ? fallback : given
    const found = allowed.find((candidate) => candidate === value)
    if (found === undefined) throw this.unsupported(key, allowed)
    return found
  }

  /** A list of one value for each of `count` places, or one value for all of them. */
  each<Value>(
    key: string,
    fallback: Value | readonly Value[] | undefined,
    count: number,
    read: (value: unknown) => Value | undefined,
    allowed: string,
  ): Value[] {
    const given = this.raw(key)
    const value = given === undefined ? fallback : given
    const list: readonly unknown[] = Array.isArray(value) ? value : Array.from({ length: count }, () => value)
    if (list.length !== count) throw this.invalid(key, `${allowed}, one for all or a list of ${count}`)
    return list.map((item) => {
      const result = read(item)
      if (result === undefined) throw this.invalid(key, `${allowed}, one for all or a list of ${count}`)
      return result
    })
  }

  /** Whole numbers, one for each of `count` places. */
  integers(key: string, fallback: number | readonly number[] | undefined, count: number, bounds: Bounds): number[] {
    const read = (item: unknown) => {
      const value = asNumber(item)
      return isWithin(value, bounds) && Number.isInteger(value) ? value : undefined
    }
    return this.each(key, fallback, count, read, `a whole number ${range(bounds)}`)
  }

  /** A list of 1 to `most` strings. */
  strings(key: string, fallback: readonly string[], most: number): string[] {
    const value = this.#given(key, fallback)
    if (!Array.isArray(value) || value.length === 0 || value.length > most || !value.every((item) => typeof item === 'string')) {
      throw this.invalid(key, `a list of 1 to ${most} names`)
    }
    return value
  }

  /** Refuses the config unless `key` is missing, null or one of `allowed`. */
  require(key: string, ...allowed: readonly (string | number | boolean | null)[]): void {
    const value = this.raw(key)
    if (value === undefined || value === null || allowed.some((candidate) => candidate === value)) return
    throw this.unsupported(key, [null, ...allowed])
  }

  /** As {@link require}, for the name of an activation, whose letter case diffusers ignores. */
  requireActivation(key: string, ...allowed: readonly string[]): void {
    const value = this.raw(key)
    if (typeof value !== 'string' || !allowed.includes(value.toLowerCase())) this.require(key, ...allowed)
  }

  /** Refuses the config if the value of `key` is one of `refused`. diffusers or transformers treats every other value as `usual`. */
  refuse(key: string, usual: string | null, ...refused: readonly string[]): void {
    const value = this.raw(key)
    if (refused.some((name) => name === value)) throw this.unsupported(key, [usual])
    this.unused(key, usual)
  }

  /** Refuses the config if the value of `key` is truthy in Python. */
  requireFalse(key: string): void {
    if (this.boolean(key, false)) throw this.unsupported(key, [null, false])
  }

  /** Accepts keys that do not change what the network computes. */
  neutral(...keys: readonly string[]): void {
    for (const key of keys) this.#seen.add(key)
  }

  /**
   * Accepts a key that has no effect: the class never reads it, or only if other keys have other values. A value other than the `usual`
   * ones, null and false is listed in {@link unusedValues}.
   */
  unused(key: string, ...usual: readonly (string | number | boolean | readonly number[] | null)[]): void {
    const value = this.raw(key) ?? null
    if (value === null || value === false || usual.some((one) => JSON.stringify(value) === JSON.stringify(one))) return
    this.#unused.set(key, value)
  }

  /**
   * Accepts keys of token ids. The network never reads these keys. A value that is neither an id nor a list of ids is listed in
   * {@link unusedValues}.
   */
  unusedTokens(...keys: readonly string[]): void {
    for (const key of keys) {
      const value = this.raw(key)
      if (![value].flat().every((id) => Number.isInteger(id))) this.unused(key)
    }
  }

  /** The values that have no effect in this config, by key. */
  get unusedValues(): Config {
    return Object.fromEntries(this.#unused)
  }

  /**
   * The keys that were not read, because the class does not have them, with their values. Keys with the value null or false are left out.
   * @throws UnsupportedError `unsupported-config` for weights that another tool has quantized
   */
  finish(): Config {
    // readQuantizationConfig has already removed the key from configs that Aquatint wrote.
    this.require('quantization_config')
    const left = Object.entries(this.#config).filter(([key, value]) => !this.#seen.has(key) && value !== null && value !== false)
    return Object.fromEntries(left)
  }

  /** The error for an invalid value. */
  invalid(key: string, allowed: string): CheckpointError {
    const details = { className: this.#className, key, value: plain(this.#config[key]), allowed }
    return new CheckpointError(
      'invalid-config',
      `${this.#className}: config key ${key} is ${shown(this.#config[key])}; allowed: ${allowed}`,
      details,
    )
  }

  /** The error for a valid value that is not supported. */
  unsupported(key: string, allowed: readonly (string | number | boolean | null)[]): UnsupportedError {
    const details = { className: this.#className, key, value: plain(this.#config[key]), allowed }
    return new UnsupportedError(
      'unsupported-config',
      `${this.#className}: config key ${key} is ${shown(this.#config[key])}, which is not supported; supported: ${allowed.map(shown).join(', ')}`,
      details,
    )
  }
}

/** True and false as the numbers that they are in Python. */
export function asNumber(value: unknown): unknown {
  return typeof value === 'boolean' ? Number(value) : value
}

function isWithin(value: unknown, bounds: Bounds): value is number {
  return typeof value === 'number' && value >= bounds.min && value <= bounds.max
}

function range(bounds: Bounds): string {
  return `from ${bounds.min} to ${bounds.max}`
}

/** A config value as JSON for a message, cut to 200 characters; `missing` for undefined. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'missing' : JSON.stringify(value)
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

/** A config value for the details of an error: plain data, as it comes from JSON, and truncated if it is long. */
function plain(value: unknown): ErrorDetail {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  return typeof value === 'string' && value.length <= 200 ? value : shown(value)
}
