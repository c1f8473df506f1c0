/** The interface of a store for chunks and records. Types only. */

/** Stores chunks of files and small records. A write is committed when its promise resolves. A promise rejects with a StorageError. */
export interface ChunkStore {
  /** Every stored chunk of a file, by index. Reading a Blob may fail later, when the browser has deleted it. */
  chunks(file: string): Promise<Map<number, Blob>>
  /**
   * Indexes of the stored chunks. Unlike {@link chunks} it creates no Blobs, because a browser does not free the disk space of a Blob while
   * it is referenced.
   */
  chunkIndexes(file: string): Promise<number[]>
  chunk(file: string, index: number): Promise<Blob | undefined>
  putChunk(file: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>
  /** Deletes the given chunks, or all chunks of the file. */
  deleteChunks(file: string, indexes?: readonly number[]): Promise<void>
  /** Keys of the files that have chunks. */
  chunkFiles(): Promise<string[]>
  record(key: string): Promise<unknown>
  putRecord(key: string, value: unknown): Promise<void>
  /** Reads, changes and writes a record in one transaction. If `change` returns undefined, the record stays as it was. */
  updateRecord(key: string, change: (old: unknown) => unknown): Promise<void>
  deleteRecord(key: string): Promise<void>
  /** Every record whose key starts with `prefix`. */
  records(prefix: string): Promise<[string, unknown][]>
}
