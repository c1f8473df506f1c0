/** Where chunks and records are kept, seen from outside. Only types. */

/** Keeps chunks of files and small records. Whatever resolves is committed; whatever rejects is a StorageError. */
export interface ChunkStore {
  /** Every chunk of a file that is here, by index. Reading it may fail later, when the browser has taken it away. */
  chunks(file: string): Promise<Map<number, Blob>>
  /** Indexes of the chunks that are here. Unlike {@link chunks} it takes hold of no bytes: a Blob that is held keeps its room. */
  chunkIndexes(file: string): Promise<number[]>
  chunk(file: string, index: number): Promise<Blob | undefined>
  putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>
  /** Deletes the given chunks, or all of the file. */
  deleteChunks(file: string, indexes?: readonly number[]): Promise<void>
  /** Keys of files that have chunks. */
  chunkFiles(): Promise<string[]>
  record(key: string): Promise<unknown>
  putRecord(key: string, value: unknown): Promise<void>
  /** Reads, changes and writes in one transaction. An undefined result leaves the record as it was. */
  updateRecord(key: string, change: (old: unknown) => unknown): Promise<void>
  deleteRecord(key: string): Promise<void>
  /** Every record whose key starts with `prefix`. */
  records(prefix: string): Promise<[string, unknown][]>
}
