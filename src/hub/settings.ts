/** The numbers that downloading and storing go by. Handed down from the Hub; nothing reads a default on its own. */

export interface TransferSettings {
  /** Bytes of one stored record. 16 to 64 MiB is where IndexedDB is fastest. */
  readonly chunkBytes: number
  /** Bytes asked for in one request. Smaller than a chunk, so that the last requests of a file end together. */
  readonly pieceBytes: number
  /** Requests to one host at once: at first, at most over HTTP/1.1 (to which a browser opens 6 connections), and at most over HTTP/2. */
  readonly startConnections: number
  readonly maxConnections: number
  readonly maxStreams: number
  /** Bytes of chunks held in memory at once, over all files, from the request to the stored record: what a killed tab fetches again. */
  readonly memoryBytes: number
  /** Of those, how many are hashed and stored at once: the browser makes copies for that, which come on top. */
  readonly copyBytes: number
  /** Silence after which a request is given up, in milliseconds. */
  readonly stallMs: number
  /** Tries in a row that brought no byte before a download fails. */
  readonly maxTries: number
  /** First wait after a failure, in milliseconds; it doubles up to `retryMaxMs`. */
  readonly retryBaseMs: number
  readonly retryMaxMs: number
  /** Waits before a refused record is written again, in milliseconds: at once is futile in Chromium. */
  readonly storeRetryMs: readonly number[]
  /** How long IndexedDB may take to open before it counts as blocked, in milliseconds. */
  readonly storeOpenMs: number
}

const mebibyte = 1 << 20

export const defaultSettings: TransferSettings = {
  chunkBytes: 16 * mebibyte,
  pieceBytes: 8 * mebibyte,
  startConnections: 2,
  maxConnections: 6,
  maxStreams: 12,
  memoryBytes: 96 * mebibyte,
  copyBytes: 32 * mebibyte,
  stallMs: 20_000,
  maxTries: 5,
  retryBaseMs: 500,
  retryMaxMs: 60_000,
  storeRetryMs: [1000, 3000],
  storeOpenMs: 10_000,
}
