/**
 * How much memory of a device there is to plan with: what the caller allows, a guess without that, or what the device turned out to have
 * when it ran out. Only the caller's limit refuses anything; the others ask for as little as possible.
 */

/** The share of the memory that is planned with after it was too much and nobody knows by how much. */
const lowered = 3 / 4

/** What plans are made with: see `MemoryOffer`. */
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

  /** `allowed`: by the caller, in bytes. `guess`: used without it. */
  constructor(allowed: number | undefined, guess: number | undefined) {
    this.#allowed = allowed
    this.#bytes = allowed ?? guess
    this.#isGuess = allowed === undefined
  }

  /** Bytes of all buffers to plan with. */
  get bytes(): number | undefined {
    return this.#bytes
  }

  /** The same, unless it is a guess. */
  get limit(): number | undefined {
    return this.#isGuess ? undefined : this.#bytes
  }

  /** To plan with: what the device turned out to have, if that is not what the caller allows. A refusal of it does not count. */
  get found(): KnownMemory | undefined {
    if (this.limit === this.#allowed) return undefined
    return { maxMemory: this.limit, foundMemory: undefined, tooMany: this.#tooMany }
  }

  /** To plan with otherwise: what the caller allows, where streamed weights take no more than was found. */
  get allowed(): KnownMemory {
    return { maxMemory: this.#allowed, foundMemory: this.#isFound ? this.#bytes : undefined, tooMany: this.#tooMany }
  }

  /** The device turned out to have no more than `bytes`. */
  limitTo(bytes: number): void {
    if (this.#bytes === undefined || bytes < this.#bytes) {
      this.#bytes = bytes
      this.#isFound = true
    }
    this.#isGuess = false
  }

  /** `bytes` of a component's weights at once were too many beside its run. */
  shrink(component: string, bytes: number): void {
    this.#tooMany.set(component, bytes)
    if (this.#bytes === undefined) return
    this.#bytes = Math.floor(this.#bytes * lowered)
    this.#isFound = true
  }
}
