/** A token embedding table. The host reads its rows by token id, because the table is large and a prompt needs few of its rows. */

export interface TokenEmbedding {
  /** The names that checkpoints use for it. The first one that the weight table contains is used. */
  readonly tensors: readonly string[]
  readonly rows: number
  readonly width: number
}
