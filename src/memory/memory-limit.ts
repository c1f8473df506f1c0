/**
 * Decides how much memory of a device plans may use: what the caller allows, otherwise a guess, or what the device turned out to have when it ran out
 * of memory. Only the caller's limit refuses a plan; the other two lead to a plan that needs as little as possible.
 */

/** The factor by which planned memory shrinks after an allocation failed and the missing amount is unknown. */
const lowered = 3 / 4

/** The memory that plans may use: see `MemoryOffer`. */
export interface KnownMemory {
  readonly maxMemory: number | undefined
  readonly foundMemory: number | undefined
  readonly tooMany: ReadonlyMap<string, number>
}

export class MemoryLimit {
  readonly #allowed: number | undefined
  #bytes: number | undefined
  #isGuess: boolean
  /** Whether the device has less than was allowed or guessed. */
  #isFound = false
  readonly #tooMany = new Map<string, number>()

  /** `allowed`: the bytes that the caller allows. `guess`: the bytes to use if the caller set no limit. */
  constructor(allowed: number | undefined, guess: number | undefined) {
    this.#allowed = allowed
    this.#bytes = allowed ?? guess
    this.#isGuess = allowed === undefined
  }

  /** Bytes of all buffers that plans may use. */
  get bytes(): number | undefined {
    return this.#bytes
  }

  /** The bytes that plans must stay within. Undefined if there is only a guess. */
  get limit(): number | undefined {
    return this.#isGuess ? undefined : this.#bytes
  }

  /**
   * The memory to plan with first: what the device turned out to have. If this plan is refused, plan with {@link allowed}. Undefined if there is only
   * the caller's limit, or a guess.
   */
  get found(): KnownMemory | undefined {
    if (this.limit === this.#allowed) return undefined
    return { maxMemory: this.limit, foundMemory: undefined, tooMany: this.#tooMany }
  }

  /**
   * The memory to plan with if {@link found} is undefined or its plan is refused: what the caller allows, with streamed weights limited to the memory
   * that was found.
   */
  get allowed(): KnownMemory {
    return { maxMemory: this.#allowed, foundMemory: this.#isFound ? this.#bytes : undefined, tooMany: this.#tooMany }
  }

  /** Records that the device turned out to have no more than `bytes`. */
  limitTo(bytes: number): void {
    if (this.#bytes === undefined || bytes < this.#bytes) {
      this.#bytes = bytes
      this.#isFound = true
    }
    this.#isGuess = false
  }

  /** Records that a component ran out of memory while `bytes` of its weights were on the device. */
  shrink(component: string, bytes: number): void {
    this.#tooMany.set(component, bytes)
    if (this.#bytes === undefined) return
    this.#bytes = Math.floor(this.#bytes * lowered)
    this.#isFound = true
  }
}
