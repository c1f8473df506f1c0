/**
 * How many bytes the weights of a network may take where its blocks are streamed: what a budget leaves beside a run, and less, step by step,
 * where the device turns out to have less than that. Pure.
 */

import { isAquatintError } from '../../errors.js'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import { leastWeightBudget, planMemory } from '../../memory/plan.js'

/** What of a budget is tried after all of it was too much and nobody knows how much too much. */
const lowered = 3 / 4

/** How many bytes a network's weights may take beside a run. */
export interface WeightRoom {
  readonly network: string
  readonly bytes: number
  /** The same, for a component; undefined: all of them may stay. */
  readonly budget: number | undefined
  /** The least that they can do with: one block at a time. */
  readonly least: number
}

export class WeightBudgets {
  readonly #maxMemory: number | undefined
  #budget: number | undefined
  #isGuess: boolean
  /** Of networks that found no room: bytes of weights that were too many. */
  readonly #tooMany = new Map<string, number>()

  /** `maxMemory`: what the caller allows, in bytes; `guess`: what is planned with where nobody said. */
  constructor(maxMemory: number | undefined, guess: number | undefined) {
    this.#maxMemory = maxMemory
    this.#budget = maxMemory ?? guess
    this.#isGuess = maxMemory === undefined
  }

  /** Bytes of all buffers to plan with: what was allowed or guessed, or what the device was seen to have. */
  get budget(): number | undefined {
    return this.#budget
  }

  /** The same, where it is more than a guess. */
  get limit(): number | undefined {
    return this.#isGuess ? undefined : this.#budget
  }

  /**
   * The room in runs that need this, beside `heldBytes`. Only what the caller allows is a reason to refuse; with less than a plan would take,
   * as little as possible is used. @throws DeviceError `does-not-fit`
   */
  room(needs: ComponentNeeds, heldBytes: number): WeightRoom {
    const all = weightBytes(needs)
    const least = needs.sharedBytes + Math.max(0, ...needs.blocks.map(({ bytes }) => bytes))
    const tooMany = this.#tooMany.get(needs.name) ?? Number.POSITIVE_INFINITY
    const choices = [this.#planned(needs, heldBytes), Math.min(leastWeightBudget(needs), all)]
    const bytes = choices.find((choice) => choice !== undefined && choice < tooMany) ?? least
    return { network: needs.name, bytes, budget: bytes >= all ? undefined : bytes, least }
  }

  #planned(needs: ComponentNeeds, heldBytes: number): number | undefined {
    try {
      const plan = planMemory([needs], { offload: 'block', maxMemory: this.#budget ?? Number.MAX_SAFE_INTEGER, heldBytes })
      return plan.components[0]?.weightBudget ?? weightBytes(needs)
    } catch (error) {
      if (isAquatintError(error) && this.#budget !== this.#maxMemory) return undefined
      throw error
    }
  }

  /** The device was seen to have no more than `bytes`. */
  limitTo(bytes: number): void {
    this.#budget = Math.min(bytes, this.#budget ?? bytes)
    this.#isGuess = false
  }

  /** What a network's weights were given was too much beside its run. */
  shrink({ network, bytes }: WeightRoom): void {
    this.#tooMany.set(network, bytes)
    if (this.#budget !== undefined) this.#budget = Math.floor(this.#budget * lowered)
  }
}
