/** A table whose rows the host reads by token id: large, and a prompt needs few rows of it. */

export interface TokenEmbedding {
  /** The names that checkpoints give it: the first that is in the table is it. */
  readonly tensors: readonly string[]
  readonly rows: number
  readonly width: number
}

/** Why graphs do not use a token embedding, for `WeightNames.unused`. */
export const embeddingOnHost = 'the token embedding is read by the host, row by row'
