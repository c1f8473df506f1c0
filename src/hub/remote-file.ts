/** A file of the cache, and one that comes from a server, with all that is known about what its bytes must be. Types and the key. */

import type { FileLocation } from './file-location.js'

/** The hash that the whole file must have. `git-sha1` is git's: of `blob`, the length and the content. */
export interface ExpectedHash {
  readonly algorithm: 'sha256' | 'git-sha1'
  readonly hex: string
}

/** A file as the cache sees it. */
export interface StoredFile {
  /** Name of the repository, to show. */
  readonly repository: string
  readonly path: string
  readonly revision?: string | undefined
  readonly size: number
  /** Names the content in the cache: two files with one key have the same bytes. */
  readonly key: string
  readonly hash?: ExpectedHash | undefined
  /** ETag or Last-Modified that every answer must show where it shows one; only for files without a hash. */
  readonly validator?: string | undefined
}

export interface RemoteFile extends StoredFile {
  readonly location: FileLocation
}

/** The key of content with a known hash. */
export function hashKey({ algorithm, hex }: ExpectedHash): string {
  return `${algorithm}:${hex}`
}
