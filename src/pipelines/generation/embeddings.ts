/** The textual inversions of a pipeline. */

import { CheckpointError } from '../../errors.js'
import type { AddedWords } from '../added-words.js'
import { hasRole, type Network } from '../bind-network.js'
import type { OpenedEmbedding } from '../loading/adapters/open-embedding.js'

/**
 * Compares an embedding with the text encoders that it is for.
 * @throws CheckpointError `not-an-embedding` if the pipeline does not have one of these encoders, or if an encoder has another width
 */
export function checkEmbedding({ token, vectors }: OpenedEmbedding, networks: ReadonlyMap<string, Network>): void {
  for (const [component, rows] of vectors) {
    const network = networks.get(component)
    const width = network !== undefined && hasRole(network, 'text-encoder') ? network.model.tokenEmbedding.width : undefined
    const actual = rows[0]?.length ?? 0
    if (width === actual) continue
    const why = width === undefined ? `it has no ${component}` : `its ${component} has embeddings of ${width} numbers`
    throw new CheckpointError(
      'not-an-embedding',
      `The embedding ${token} has ${actual} numbers for ${component} and does not fit this pipeline: ${why}.`,
      { component, actual, expected: width ?? null },
    )
  }
}

export class Embeddings {
  readonly #networks: ReadonlyMap<string, Network>
  /** The words of each text encoder, by its name. */
  readonly #words: ReadonlyMap<string, AddedWords>

  constructor(networks: ReadonlyMap<string, Network>, words: ReadonlyMap<string, AddedWords>) {
    this.#networks = networks
    this.#words = words
  }

  /**
   * Adds a word to each text encoder that it is for, or to none of them.
   * @throws CheckpointError `not-an-embedding` if the pipeline does not have one of these encoders, or if an encoder has another width;
   * InputError `token`
   */
  add({ token, vectors }: OpenedEmbedding): void {
    checkEmbedding({ token, vectors }, this.#networks)
    const changes = [...vectors].map(([component, rows]) => {
      const words = this.#words.get(component)
      if (words === undefined) throw new TypeError(`${component} has no words.`)
      return words.with({ token, vectors: rows })
    })
    for (const change of changes) change()
  }

  /** Removes all words. */
  clear(): void {
    for (const words of this.#words.values()) words.clear()
  }
}
