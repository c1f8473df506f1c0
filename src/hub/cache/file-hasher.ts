/** Hashes one chunk, or a whole file step by step, with a state that can be saved and resumed from. */

import { createSHA1, createSHA256, type IHasher } from 'hash-wasm'
import { Turns } from '../../util/next-turn.js'
import type { ExpectedHash } from '../stored-file.js'

/** Bytes that are hashed before the thread's other work gets a turn. */
const turn = 256 << 10

/** Computes the hash of a file from its bytes in order. Calls must not overlap. */
export interface Hasher {
  /** Hashes the next bytes. The hasher owns them from then on and may detach their buffer. */
  update(bytes: Uint8Array<ArrayBuffer>): Promise<void>
  /** The state so far, to resume from. It contains up to one block of the content. */
  save(): Uint8Array
  /** The hash in hex. Ends the hasher. */
  digest(): Promise<string>
  /** Ends the hasher without a result. */
  close(): void
}

/** Makes a hasher for a file of `size` bytes. It starts at the beginning or a saved state. Rejects states of other hash-wasm builds. */
export type CreateHasher = (algorithm: ExpectedHash['algorithm'], size: number, state?: Uint8Array) => Promise<Hasher>

/** A hasher in the calling thread. */
export class FileHasher implements Hasher {
  readonly #hasher: IHasher
  private constructor(hasher: IHasher) {
    this.#hasher = hasher
  }

  /** See {@link CreateHasher}. */
  static async create(this: void, algorithm: ExpectedHash['algorithm'], size: number, state?: Uint8Array): Promise<FileHasher> {
    const hasher = await (algorithm === 'sha256' ? createSHA256() : createSHA1())
    hasher.init()
    if (state !== undefined) hasher.load(state)
    else if (algorithm === 'git-sha1') hasher.update(`blob ${size}\0`)
    return new FileHasher(hasher)
  }

  async update(bytes: Uint8Array): Promise<void> {
    const turns = bytes.length > turn ? new Turns() : undefined
    for (let at = 0; at < bytes.length; at += turn) {
      this.#hasher.update(bytes.subarray(at, at + turn))
      if (at + turn < bytes.length) await turns?.next()
    }
    turns?.close()
  }

  save(): Uint8Array {
    return this.#hasher.save()
  }

  digest(): Promise<string> {
    return Promise.resolve(this.#hasher.digest('hex'))
  }

  close(): void {}
}

/** Hex sha256 of bytes in memory. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  // `subtle.digest` is much faster than hash-wasm, but exists in secure contexts only.
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined
  if (subtle !== undefined) {
    const digest = new Uint8Array(await subtle.digest('SHA-256', bytes))
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
  }
  const hasher = await FileHasher.create('sha256', bytes.length)
  await hasher.update(bytes)
  return hasher.digest()
}
