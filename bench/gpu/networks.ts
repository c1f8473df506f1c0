/**
 * The networks that `npm run bench:gpu` times: models of published sizes with random weights, and the tiny models of the fixtures with
 * their own weights.
 */

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { DiskRepository } from '../../cli/disk-repository.js'
import type { TensorEntry } from '../../src/checkpoint/types.js'
import type { ByteRange, ByteSource } from '../../src/hub/types.js'
import type { Network } from '../../src/pipelines/bind-network.js'
import type { QuantizationName } from '../../src/pipelines/types.js'
import { publishedModel } from '../memory/weight-tables.js'
import { normalHalves } from '../quantize/virtual-checkpoint.js'
import { networkOf, readNetwork, type Found } from './read-network.js'

/** A network of networks.json. */
export interface NetworkSource {
  readonly name: string
  /** The name of a table of fixtures/weight-tables: the network has random weights. */
  readonly table?: string
  /** A folder of fixtures/ with a config and weights. */
  readonly folder?: string
  /** Height and width of the latents; for a text encoder, the number of tokens. */
  readonly latents: number
}

/** A network that is timed. */
export interface BenchedNetwork extends NetworkSource {
  /** Floating-point operations of a step with guidance, or of one decoded image; pytorch.py counts them. */
  readonly flops: number
}

/** A network that is compared with PyTorch; judge.py reads the other members of its entry. */
export interface JudgedNetwork extends Pick<NetworkSource, 'name' | 'table' | 'folder'> {
  /** Quantizations that are compared beside float16. Default: none. */
  readonly quantized?: readonly QuantizationName[]
}

interface Groups {
  readonly full: readonly BenchedNetwork[]
  readonly tiny: readonly BenchedNetwork[]
  readonly judged: readonly JudgedNetwork[]
  readonly 'judged-tiny': readonly JudgedNetwork[]
}

/**
 * Returns networks.json. The networks in `full` (published sizes) and `tiny` (fixtures) are timed; the networks in `judged` and `judged-tiny`
 * are compared with PyTorch.
 */
export async function readGroups(): Promise<Groups> {
  return JSON.parse(await readFile(new URL('networks.json', import.meta.url), 'utf8')) as Groups
}

/** Opens a network. Its weights are float16, or quantized when they are read. */
export async function openNetwork(
  { table: published, folder }: NetworkSource,
  quantization?: QuantizationName,
): Promise<Network> {
  if (published === undefined)
    return readNetwork(
      new DiskRepository(fileURLToPath(new URL(`../../fixtures/${folder ?? ''}`, import.meta.url))),
      quantization,
    )
  return networkOf({ ...randomModel(published), repo: published }, quantization)
}

function randomModel(published: string): Omit<Found, 'repo'> {
  const { _class_name: className, config, tensors } = publishedModel(published)
  const entries = Object.entries(tensors).map(([name, shape], index): [string, TensorEntry] => {
    const bytes = shape.reduce((count, dim) => count * dim, 2)
    // Weights of norms are 1, so that values neither grow nor vanish from layer to layer.
    const pattern = shape.length === 1 && name.endsWith('.weight') ? ones : normalHalves
    return [name, { name, shape, dtype: 'F16', source: new RepeatedSource(bytes, pattern, index), begin: 0, end: bytes }]
  })
  return { className, config, table: new Map(entries) }
}

/** Many ones in float16. */
const ones = new Uint16Array(65_536).fill(0x3c_00)

/** A file whose bytes are a repeated pattern. Each file begins at another element of the pattern. */
class RepeatedSource implements ByteSource {
  readonly byteLength: number
  readonly #pattern: Uint8Array
  readonly #shift: number

  constructor(byteLength: number, pattern: Uint16Array, index: number) {
    this.byteLength = byteLength
    this.#pattern = new Uint8Array(pattern.buffer, pattern.byteOffset, pattern.byteLength)
    this.#shift = 2 * 7919 * index
  }

  async read({ begin, end }: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(end - begin)
    for (let at = 0; at < bytes.byteLength;) {
      const from = (this.#shift + begin + at) % this.#pattern.byteLength
      const piece = this.#pattern.subarray(from, from + bytes.byteLength - at)
      bytes.set(piece, at)
      at += piece.byteLength
    }
    return bytes
  }
}
