/**
 * Executes the steps that a scheduler describes, on host arrays or on GPU tensors. A sum gets an array only if it is the next sample, or is
 * kept, clamped or rounded. The terms of any other sum are inserted into the later sums, and the factors are multiplied in float64. So most
 * steps are one pass over their arrays.
 */

import { DeviceError } from '../errors.js'
import type { StepPlan, StepTerm } from './types.js'

/** A summand: `scale` times the elements of `value`, starting at `offset`. */
export interface Part<T> {
  readonly value: T
  readonly scale: number
  /** In elements; 0 by default. */
  readonly offset?: number | undefined
}

/** The array operations that a step needs. */
export interface Arithmetic<T> {
  /** Returns a new array with the sum of `parts`, clamped to ±`bound`. */
  sum(parts: readonly Part<T>[], bound: number | undefined): T
  /** Returns a new array with the next standard normal numbers of the run's generator. */
  noise(): T
  dispose(value: T): void
}

/** Executes the steps of one run, and keeps the arrays that later steps need. */
export class StepRunner<T> {
  readonly #arithmetic: Arithmetic<T>
  #kept: ReadonlyMap<string, T>

  /** `kept`: arrays that another runner kept, to continue its run. The new runner owns them and disposes them. */
  constructor(arithmetic: Arithmetic<T>, kept: ReadonlyMap<string, T> = new Map()) {
    this.#arithmetic = arithmetic
    this.#kept = kept
  }

  /** The arrays that the next step may use, by name. */
  get kept(): ReadonlyMap<string, T> {
    return this.#kept
  }

  /**
   * Executes a step. Returns the sample after it, as a new array. `output` is the model's output as a sum,
   * for example of the two halves of a batch, with the factors of classifier-free guidance.
   * @throws DeviceError `not-finite` if a factor of the plan is not finite, for example after a division by zero
   */
  step({ sums, keep = [] }: StepPlan, sample: T, output: readonly Part<T>[]): T {
    const values = new Map<string, readonly Part<T>[]>([
      ['sample', [{ value: sample, scale: 1 }]],
      ['output', output],
    ])
    const arrays = new Map(this.#kept)
    for (const [name, value] of arrays) values.set(name, [{ value, scale: 1 }])
    const make = (name: string, value: T) => {
      arrays.set(name, value)
      values.set(name, [{ value, scale: 1 }])
    }
    for (const { name, terms, bound, rounded = false } of sums) {
      if (terms.some(([scale, value]) => value === 'noise' && scale !== 0) && !values.has('noise'))
        make('noise', this.#arithmetic.noise())
      const parts = this.#parts(terms, values)
      if (name === 'next' || rounded || bound !== undefined || keep.includes(name)) make(name, this.#arithmetic.sum(parts, bound))
      else values.set(name, parts)
    }
    const next = arrays.get('next')
    if (next === undefined) throw new Error('The scheduler’s plan has no sum named next')
    this.#kept = new Map([...arrays].filter(([name]) => keep.includes(name)))
    for (const [name, value] of arrays) if (name !== 'next' && !this.#kept.has(name)) this.#arithmetic.dispose(value)
    return next
  }

  /** Expands the terms to parts of existing arrays. Parts of the same array with the same offset are merged. */
  #parts(terms: readonly StepTerm[], values: ReadonlyMap<string, readonly Part<T>[]>): readonly Part<T>[] {
    const parts: Part<T>[] = []
    for (const [factor, name] of terms) {
      if (factor === 0) continue
      const found = values.get(name)
      if (found === undefined) throw new Error(`The scheduler’s plan uses ${name}, which no step has kept or computed`)
      for (const { value, scale, offset = 0 } of found) {
        const at = parts.findIndex((part) => part.value === value && part.offset === offset)
        parts.splice(at < 0 ? parts.length : at, 1, { value, offset, scale: (parts[at]?.scale ?? 0) + factor * scale })
      }
    }
    const bad = parts.find(({ scale }) => !Number.isFinite(scale))
    if (bad !== undefined)
      throw new DeviceError(
        'not-finite',
        `A factor of the scheduler's step is ${bad.scale}: this prediction_type does not work with this noise schedule.`,
        { what: "the scheduler's step", factor: String(bad.scale) },
      )
    return parts.filter(({ scale }) => scale !== 0)
  }

  /** Disposes the kept arrays. */
  dispose(): void {
    for (const value of this.#kept.values()) this.#arithmetic.dispose(value)
    this.#kept = new Map()
  }
}
