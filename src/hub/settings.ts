/** The limits and times that downloads and the cache use. The Hub passes them on; no other code reads the defaults. */

/** Limits and times of downloads and of the cache. */
export interface TransferSettings {
  /** Bytes of one stored chunk. IndexedDB is fastest with 16 to 64 MiB. */
  readonly chunkBytes: number
  /** Bytes that one request asks for. Fewer than a chunk, so that the last requests of a file end at about the same time. */
  readonly pieceBytes: number
  /** The number of simultaneous requests to one host at the start. */
  readonly startConnections: number
  /** The most requests to one host at once over HTTP/1.1. A browser opens 6 connections to a host. */
  readonly maxConnections: number
  /** The most requests to one host at once over HTTP/2 and later, where one connection carries them all. */
  readonly maxStreams: number
  /**
   * The most bytes of chunks in memory at once, over all files. A chunk counts from its request until it is stored, so this is also the most
   * that a killed tab downloads again.
   */
  readonly memoryBytes: number
  /** The most bytes of chunks that are hashed and stored at once. The browser makes copies of these bytes, which take additional memory. */
  readonly copyBytes: number
  /** Milliseconds of silence after which a request is cancelled. */
  readonly stallMs: number
  /** Failures in a row without progress after which a download fails. */
  readonly maxTries: number
  /** The wait after the first failure in milliseconds. It doubles with each further failure, up to `retryMaxMs`. */
  readonly retryBaseMs: number
  readonly retryMaxMs: number
  /** Milliseconds to wait before each retry of a rejected write. In Chromium an immediate retry does not help. */
  readonly storeRetryMs: readonly number[]
  /** Milliseconds that IndexedDB may take to open before it counts as blocked. */
  readonly storeOpenMs: number
}

const mebibyte = 1 << 20

/** The settings of a hub that is opened without any. */
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
