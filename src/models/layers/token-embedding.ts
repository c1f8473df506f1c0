/** A table whose rows the host reads by token id: large, and a prompt needs few rows of it. */

export interface TokenEmbedding {
  /** The names that checkpoints give it: the first that is in the table is it. */
  readonly tensors: readonly string[]
  readonly rows: number
  readonly width: number
}
