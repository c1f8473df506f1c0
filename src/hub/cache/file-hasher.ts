/** Hashes: of one chunk, and of a whole file as its bytes go by, with a state that can be kept and gone on from. */

import { createSHA1, createSHA256, type IHasher } from 'hash-wasm'
import { Turns } from '../../util/next-turn.js'
import type { ExpectedHash } from '../remote-file.js'

/** Bytes hashed before other work of the thread gets a turn. */
const turn = 256 << 10

/** The hash of a file, fed from its first byte to its last, one call at a time. */
export interface Hasher {
  /** Takes the bytes: they may be empty afterwards. */
  update(bytes: Uint8Array<ArrayBuffer>): Promise<void>
  /** The state so far, to be gone on from. It holds up to a block of the content. */
  save(): Uint8Array
  /** The hash in hex. Ends the hasher. */
  digest(): Promise<string>
  /** Ends the hasher without a result. */
  close(): void
}

/** Makes a hasher at the start of a file of `size` bytes, or at a state that another one saved. Rejects a state of another build. */
export type CreateHasher = (algorithm: ExpectedHash['algorithm'], size: number, state?: Uint8Array) => Promise<Hasher>

/** A hasher in this thread. */
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
  // Only secure contexts have `subtle`; it is the faster one by far.
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined
  if (subtle !== undefined) {
    const digest = new Uint8Array(await subtle.digest('SHA-256', bytes))
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
  }
  const hasher = await FileHasher.create('sha256', bytes.length)
  await hasher.update(bytes)
  return hasher.digest()
}
