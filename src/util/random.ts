/**
 * torch's CPU random numbers: `torch.Generator('cpu').manual_seed(seed)` and `torch.randn(..., generator=g)` in float32, so that a seed
 * gives the same image as in diffusers. Not a cryptographic generator.
 * The integers and the uniform numbers are identical to torch's. The normal numbers use log, sqrt, cos and sin, which torch computes
 * in float32 with the vector routines of the CPU it runs on; here each is rounded once from double precision, so the last bit may differ.
 * Source: Matsumoto & Nishimura 1998 (mt19937); torch `normal_fill` and `normal_distribution<double>`.
 */

import { InputError } from '../errors.js'

const stateSize = 624
const shiftSize = 397

/** The Mersenne Twister mt19937 with 32-bit outputs, seeded as torch does. */
class MersenneTwister {
  #state = new Uint32Array(stateSize)
  #next = stateSize

  constructor(seed: number) {
    this.#state[0] = seed
    for (let i = 1; i < stateSize; i++) {
      const last = this.#at(i - 1)
      this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i
    }
  }

  /** A copy that continues with the same numbers. */
  clone(): MersenneTwister {
    const copy = new MersenneTwister(0)
    copy.#state = this.#state.slice()
    copy.#next = this.#next
    return copy
  }

  #at(i: number): number {
    return this.#state[i] ?? 0
  }

  #twist(): void {
    for (let i = 0; i < stateSize; i++) {
      const y = (this.#at(i) & 0x80000000) | (this.#at((i + 1) % stateSize) & 0x7fffffff)
      this.#state[i] = this.#at((i + shiftSize) % stateSize) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    this.#next = 0
  }

  /** The next integer, from 0 to 2^32 − 1. */
  next(): number {
    if (this.#next === stateSize) this.#twist()
    let y = this.#at(this.#next++)
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    y ^= y >>> 18
    return y >>> 0
  }
}

/**
 * The low 32 bits of a seed: torch's CPU generator uses no others. A negative seed counts as 2^64 plus the seed, as in torch.
 * @throws InputError `seed`
 */
function seedBits(seed: number | bigint): number {
  const big = typeof seed === 'bigint' ? seed : Number.isSafeInteger(seed) ? BigInt(seed) : null
  if (big === null || big < -(2n ** 63n) || big >= 2n ** 64n)
    throw new InputError('seed', `seed is ${seed}; allowed are whole numbers from -2^63 to 2^64 - 1, above 2^53 as a bigint.`, {
      seed: String(seed),
    })
  return Number(BigInt.asUintN(32, big))
}

/** A stream of random numbers equal to that of `torch.Generator('cpu').manual_seed(seed)`. */
export class TorchGenerator {
  #engine: MersenneTwister
  /** Fewer than 16 normal numbers are drawn in pairs: this is the unused second one of the last pair. */
  #spare: number | null = null

  /** @throws InputError `seed` */
  constructor(seed: number | bigint) {
    this.#engine = new MersenneTwister(seedBits(seed))
  }

  /** A copy that continues with the same numbers. */
  clone(): TorchGenerator {
    const copy = new TorchGenerator(0)
    copy.#engine = this.#engine.clone()
    copy.#spare = this.#spare
    return copy
  }

  /** `torch.rand`: float32 uniform in [0, 1) with 24 random bits each. */
  rand(count: number): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count)
    this.#fillUniform(values)
    return values
  }

  /** `torch.randn(count)`: float32 standard normal numbers. A tensor of any shape takes them in row-major order. */
  randn(count: number): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count)
    if (count < 16) {
      for (let i = 0; i < count; i++) values[i] = this.#normal()
      return values
    }
    this.#fillUniform(values)
    for (let i = 0; i + 16 <= count; i += 16) boxMuller16(values.subarray(i, i + 16))
    if (count % 16 !== 0) {
      // torch draws the last 16 numbers again, including some that were finished already.
      const tail = values.subarray(count - 16)
      this.#fillUniform(tail)
      boxMuller16(tail)
    }
    return values
  }

  #fillUniform(values: Float32Array): void {
    for (let i = 0; i < values.length; i++) values[i] = (this.#engine.next() & 0xffffff) / 2 ** 24
  }

  /** Uniform in [0, 1) with 53 bits, from two outputs, high half first. */
  #uniform53(): number {
    const high = this.#engine.next() & 0x1fffff
    return (high * 2 ** 32 + this.#engine.next()) / 2 ** 53
  }

  #normal(): number {
    if (this.#spare !== null) {
      const value = this.#spare
      this.#spare = null
      return value
    }
    const u1 = this.#uniform53()
    const u2 = this.#uniform53()
    const radius = Math.sqrt(-2 * Math.log1p(-u2))
    const theta = 2 * Math.PI * u1
    this.#spare = radius * Math.sin(theta)
    return radius * Math.cos(theta)
  }
}

const twoPi = Math.fround(2 * Math.PI)

/** Box–Muller in place on 16 uniform numbers: the first 8 give radii, the last 8 angles. */
function boxMuller16(values: Float32Array): void {
  for (let j = 0; j < 8; j++) {
    const u1 = 1 - (values[j] ?? 0)
    const radius = Math.fround(Math.sqrt(Math.fround(-2 * Math.fround(Math.log(u1)))))
    const theta = Math.fround(twoPi * (values[j + 8] ?? 0))
    values[j] = radius * Math.fround(Math.cos(theta))
    values[j + 8] = radius * Math.fround(Math.sin(theta))
  }
}
