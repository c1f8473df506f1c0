/** The textual inversions of a pipeline. */

import { CheckpointError } from '../../errors.js'
import type { AddedWords } from '../added-words.js'
import { hasRole, type Network } from '../bind-network.js'
import type { OpenedEmbedding } from '../loading/open-embedding.js'

export class Embeddings {
  readonly #networks: ReadonlyMap<string, Network>
  /** By the name of the text encoder. */
  readonly #words: ReadonlyMap<string, AddedWords>

  constructor(networks: ReadonlyMap<string, Network>, words: ReadonlyMap<string, AddedWords>) {
    this.#networks = networks
    this.#words = words
  }

  /**
   * Adds a word to each text encoder that it is for, or to none of them.
   * @throws CheckpointError `not-an-embedding` for an encoder that the pipeline does not have, or of another width; InputError `token`
   */
  add({ token, vectors }: OpenedEmbedding): void {
    const changes = [...vectors].map(([component, rows]) => {
      const [network, words] = [this.#networks.get(component), this.#words.get(component)]
      const width = network !== undefined && hasRole(network, 'text-encoder') ? network.model.tokenEmbedding.width : undefined
      const actual = rows[0]?.length ?? 0
      if (words === undefined || width !== actual) {
        const why = width === undefined ? `it has no ${component}` : `its ${component} has embeddings of ${width} numbers`
        throw new CheckpointError(
          'not-an-embedding',
          `The embedding ${token} has ${actual} numbers for ${component} and does not fit this pipeline: ${why}.`,
          {
            component,
            actual,
            expected: width ?? null,
          },
        )
      }
      return words.with({ token, vectors: rows })
    })
    for (const change of changes) change()
  }

  /** Removes all words. */
  clear(): void {
    for (const words of this.#words.values()) words.clear()
  }
}
