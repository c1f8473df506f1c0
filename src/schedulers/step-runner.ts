/**
 * Carries out the steps that a scheduler has written down, whatever the arrays are: on the host, or on a GPU. Sums that nothing else needs
 * are worked into those that use them, their factors multiplied in float64, so a step is mostly one pass over its arrays.
 */

import { DeviceError } from '../errors.js'
import type { StepPlan, StepTerm } from './types.js'

/** A summand: `scale` times the elements of `value` from `offset` on. */
export interface Part<T> {
  readonly value: T
  readonly scale: number
  /** In elements; 0 unless said. */
  readonly offset?: number | undefined
}

/** What steps are made with. */
export interface Arithmetic<T> {
  /** A new array: the sum, and no further from 0 than `bound`. */
  sum(parts: readonly Part<T>[], bound: number | undefined): T
  /** A new array of standard normal numbers, the next of their stream. */
  noise(): T
  dispose(value: T): void
}

/** One run's steps, and what they keep from one to the next. */
export class StepRunner<T> {
  readonly #arithmetic: Arithmetic<T>
  #kept: ReadonlyMap<string, T>

  /** `kept`: what another runner's steps have kept, to go on from there; this one's from now on. */
  constructor(arithmetic: Arithmetic<T>, kept: ReadonlyMap<string, T> = new Map()) {
    this.#arithmetic = arithmetic
    this.#kept = kept
  }

  /** What the next step may name, by name. */
  get kept(): ReadonlyMap<string, T> {
    return this.#kept
  }

  /**
   * The sample after a step, a new array. The model's output is given as a sum too, such as guidance's of two halves.
   * @throws DeviceError `not-finite` where the plan divides by a zero of the schedule
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
    if (next === undefined) throw new Error('A plan without a sum named next')
    this.#kept = new Map([...arrays].filter(([name]) => keep.includes(name)))
    for (const [name, value] of arrays) if (name !== 'next' && !this.#kept.has(name)) this.#arithmetic.dispose(value)
    return next
  }

  /** The terms in arrays that are there, each array once. */
  #parts(terms: readonly StepTerm[], values: ReadonlyMap<string, readonly Part<T>[]>): readonly Part<T>[] {
    const parts: Part<T>[] = []
    for (const [factor, name] of terms) {
      if (factor === 0) continue
      const found = values.get(name)
      if (found === undefined) throw new Error(`A plan names ${name}, which no step has kept or made`)
      for (const { value, scale, offset = 0 } of found) {
        const at = parts.findIndex((part) => part.value === value && part.offset === offset)
        parts.splice(at < 0 ? parts.length : at, 1, { value, offset, scale: (parts[at]?.scale ?? 0) + factor * scale })
      }
    }
    const bad = parts.find(({ scale }) => !Number.isFinite(scale))
    if (bad !== undefined)
      throw new DeviceError(
        'not-finite',
        `The scheduler's step has the factor ${bad.scale}: this prediction type does not go with its schedule.`,
        { what: "the scheduler's step", factor: String(bad.scale) },
      )
    return parts.filter(({ scale }) => scale !== 0)
  }

  /** Gives back what was kept. */
  dispose(): void {
    for (const value of this.#kept.values()) this.#arithmetic.dispose(value)
    this.#kept = new Map()
  }
}
