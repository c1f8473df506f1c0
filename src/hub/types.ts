/**
 * Where bytes come from, seen from outside: a byte source and a repository of files. Only types; `checkpoint/` and `runtime/` know
 * nothing else of the hub.
 */

/** Half-open byte range: `begin` is the first byte, `end` the one after the last. */
export interface ByteRange {
  readonly begin: number
  readonly end: number
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined
}

/** A file of known length whose bytes can be read in any order. The one byte interface of the project. */
export interface ByteSource {
  /** Length of the whole file in bytes. */
  readonly byteLength: number
  /** Names the bytes where they have a name: two sources with one name hold the same. What is made from them can be kept by it. */
  readonly contentKey?: string | undefined
  /** Exactly `range.end - range.begin` bytes, in memory of the caller's own. @throws HubError, StorageError, AbortError */
  read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>>
  /** Resolves when a read of these bytes has nothing to wait for any more. Absent where it never has. @throws as {@link read} */
  arrived?(range: ByteRange, options?: ReadOptions): Promise<void>
}

/** A file on its way here. What it gives is not verified yet; reads fail when the download does, or starts over. */
export interface DownloadingSource extends ByteSource {
  arrived(range: ByteRange, options?: ReadOptions): Promise<void>
  /** Resolves when the file is whole and right, and every byte that was read is of it. @throws HubError, StorageError, AbortError */
  verified(options?: ReadOptions): Promise<void>
}

/** One file of a repository, as its listing tells. */
export interface RepositoryFile {
  /** Path inside the repository, with `/`, such as `unet/config.json`. */
  readonly path: string
  /** Size in bytes. */
  readonly size: number
  /** Hex sha256 of the whole file, where the host publishes one (`lfs.oid`). */
  readonly sha256?: string | undefined
  /** Git's hex sha1 of the blob, where the host publishes one and `sha256` is absent. */
  readonly gitOid?: string | undefined
}

/** Bytes of one file that are here, as a download or a load goes on. */
export interface FileProgress {
  /** Path in its repository. */
  readonly path: string
  /** Bytes here so far, cached ones included; never more than `total`, never falling. */
  readonly loaded: number
  /** Bytes of the whole file. */
  readonly total: number
  /** Of `loaded`, how many came from the cache. */
  readonly cached: number
  /** `queued` waits for others; `verifying` compares with the published hash; `complete` is whole and checked. */
  readonly phase: 'queued' | 'downloading' | 'verifying' | 'complete'
  /** `memory` once a part of the file could not be stored: the next load downloads that part again. Absent means `cache`. */
  readonly storage?: 'cache' | 'memory' | undefined
}

export interface OpenOptions extends ReadOptions {
  /** Refuse a longer file, before anything of it is downloaded. */
  readonly maxBytes?: number | undefined
  readonly onProgress?: ((progress: FileProgress) => void) | undefined
  /** Called where the file is not here and this worker begins to download it, with what there is of it so far. */
  readonly onDownloading?: ((source: DownloadingSource) => void) | undefined
}

/** A file to look into. */
export interface HeaderOnlySource extends ByteSource {
  /** Whether the whole file is cached, so that opening it fetches nothing. */
  readonly isCached: boolean
}

/** A repository at one fixed revision. */
export interface Repository {
  /** Name to show: `owner/name`, a base URL without query, or a folder's name. */
  readonly id: string
  /** The pinned commit (40 hex digits), or a word for hosts without commits. */
  readonly revision: string
  /** Every file, sorted by path. Listed once, then remembered. */
  files(options?: ReadOptions): Promise<readonly RepositoryFile[]>
  /**
   * The whole file, present and verified when the promise resolves: downloaded in parallel ranges, or found in the cache.
   * @throws HubError `file-not-found` when the repository has no such path; `file-too-large` when it is longer than `maxBytes`
   */
  open(path: string, options?: OpenOptions): Promise<ByteSource>
  /**
   * A file to look into: reads fetch what they ask for and nothing else, unverified, unless the whole file is cached. Absent where
   * opening costs nothing anyway. @throws HubError `file-not-found`
   */
  openHeaderOnly?(path: string, options?: ReadOptions): Promise<HeaderOnlySource>
  /** Lets go of an opened file and deletes it from the cache, unless something else has it open. Absent where nothing is cached. */
  drop?(path: string): Promise<void>
}
