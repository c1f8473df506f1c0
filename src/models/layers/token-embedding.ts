/** A token embedding table. The host reads its rows by token id, because the table is large and a prompt needs few of its rows. */

/** A table [rows, width] with a row for each token id. */
export interface TokenEmbedding {
  /** The names that checkpoints use for the table. The first one that the weight table contains is used. */
  readonly tensors: readonly string[]
  readonly rows: number
  readonly width: number
}

/** Why graphs do not use a token embedding, for `WeightNames.unused`. */
export const embeddingOnHost = 'the token embedding is read by the host, row by row'
