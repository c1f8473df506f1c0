/** The interfaces through which other folders read files: a byte source, and a repository of files. Types only. */

/** Half-open byte range: `begin` is the first byte, `end` the one after the last. */
export interface ByteRange {
  readonly begin: number
  readonly end: number
}

/** Options of a read. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined
}

/** A file of known length whose bytes can be read in any order. The project's only interface for reading bytes. */
export interface ByteSource {
  /** Length of the whole file in bytes. */
  readonly byteLength: number
  /** Identifies the bytes: two sources with the same key have the same bytes. Absent if only the server knows whether they changed. */
  readonly contentKey?: string | undefined
  /** Exactly `range.end - range.begin` bytes, in memory that the caller owns. @throws HubError, StorageError, AbortError */
  read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>>
  /** Resolves when a read of these bytes need not wait for a download. Absent if no read ever waits for one. @throws as {@link read} */
  arrived?(range: ByteRange, options?: ReadOptions): Promise<void>
}

/** A file that is being downloaded. Its bytes are not verified yet. Reads fail when the download fails or starts over. */
export interface DownloadingSource extends ByteSource {
  arrived(range: ByteRange, options?: ReadOptions): Promise<void>
  /** Resolves when the whole file is verified, and with it every byte that was read. @throws HubError, StorageError, AbortError */
  verified(options?: ReadOptions): Promise<void>
}

/** The file names of a checkpoint layout, for hosts that cannot list their files. */
export interface LayoutNames {
  /** The file by which a repository in this layout is recognized. */
  readonly index: string
  /**
   * Paths to request, round by round. Each round receives the paths that exist so far, and a function `json` that reads one of them. `json`
   * returns undefined for a file that is not valid JSON.
   */
  readonly rounds: readonly ((found: readonly string[], json: (path: string) => Promise<unknown>) => Promise<readonly string[]>)[]
}

/** One file of a repository, as the host lists it. */
export interface RepositoryFile {
  /** Path inside the repository, with `/`, such as `unet/config.json`. */
  readonly path: string
  /** Size in bytes. */
  readonly size: number
  /** Hex sha256 of the whole file, if the host publishes it (`lfs.oid`). */
  readonly sha256?: string | undefined
  /** Git's hex sha1 of the blob, if the host publishes it and `sha256` is absent. */
  readonly gitOid?: string | undefined
}

/**
 * Chooses which bytes of a file are fetched, from its header: the ranges that will be read, in any order. Null for the whole file. A read of
 * `source` may download the bytes that it reads.
 */
export type ChooseRanges = (source: ByteSource, options?: ReadOptions) => Promise<readonly ByteRange[] | null>

/** How far the download of one file is. */
export interface FileProgress {
  /** Path in the repository. */
  readonly path: string
  /** Bytes present so far, including cached ones. Never falls and never exceeds `total`. */
  readonly loaded: number
  /** Bytes to have at the end of the download: the size of the file, or of the requested ranges of it. */
  readonly total: number
  /** Bytes of `loaded` that were in the cache before. */
  readonly cached: number
  /**
   * `queued`: waits for another download; `verifying`: is being compared with the published hash; `complete`: all requested bytes are stored, and a
   * whole file is verified.
   */
  readonly phase: 'queued' | 'downloading' | 'verifying' | 'complete'
  /** `memory` once a part of the file could not be stored, so that the next load downloads that part again. Absent means `cache`. */
  readonly storage?: 'cache' | 'memory' | undefined
}

/** Options of opening a file. */
export interface OpenOptions extends ReadOptions {
  /** Reject a file with more bytes before any of them is downloaded. */
  readonly maxBytes?: number | undefined
  readonly onProgress?: ((progress: FileProgress) => void) | undefined
  /**
   * Chooses which ranges of a file to fetch if the cache does not have the whole file. A later read of other bytes fetches those bytes. The hub compares
   * the file with its hash only once all its bytes are stored. By default the hub fetches the whole file.
   */
  readonly choose?: ChooseRanges | undefined
  /** Called with the file while this worker downloads it; not called when the file is cached or another tab downloads it. */
  readonly onDownloading?: ((source: DownloadingSource) => void) | undefined
}

/** A file opened to read its header, see {@link Repository.openHeaderOnly}. */
export interface HeaderOnlySource extends ByteSource {
  /** What opening the file would download and keep; `ranges` are those that a {@link ChooseRanges} chose, null for the whole file. */
  cost(ranges: readonly ByteRange[] | null): OpeningCost
}

/** The bytes that opening a file downloads and stores. */
export interface OpeningCost {
  /** Bytes to download: 0 if the cache has every requested byte. */
  readonly fetched: number
  /** Bytes of the file that the cache has afterwards. */
  readonly kept: number
}

/** A repository at one fixed revision. */
export interface Repository {
  /** Name for display: `owner/name`, a base URL without query, or a folder's name. */
  readonly id: string
  /** The pinned commit (40 hex digits), or another identifier on hosts without commits. */
  readonly revision: string
  /** Every file, sorted by path. The host is asked once. */
  files(options?: ReadOptions): Promise<readonly RepositoryFile[]>
  /**
   * Opens a file, whole and verified when the promise resolves: from the cache, or downloaded in parallel ranges.
   * @throws HubError `file-not-found` when the repository has no such path; `file-too-large` when it is longer than `maxBytes`
   */
  open(path: string, options?: OpenOptions): Promise<ByteSource>
  /**
   * Opens a file to read its header. Unless the file is cached, whole or in part, a read fetches the requested bytes, or the first 256 KiB
   * if these contain them; the bytes are not verified. Absent when opening a file downloads nothing.
   * @throws HubError `file-not-found`
   */
  openHeaderOnly?(path: string, options?: ReadOptions): Promise<HeaderOnlySource>
  /** Ends the use of a file and deletes it from the cache, unless something else has it open. Absent when nothing is cached. */
  drop?(path: string): Promise<void>
  /** The folder inside the repository that the caller's address names, without a slash at its end. Absent where it names none. */
  readonly folder?: string | undefined
}

/** A repository whose opened files stay in the cache until the repository is closed. */
export interface OpenRepository extends Repository {
  /** For files that do not match each other: makes the next opening of this repository ask the host instead of using the cache alone. */
  revalidateOnNextOpen(): Promise<void>
  /** Ends the use of all opened files. */
  close(): void
}
