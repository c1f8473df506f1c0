/** A file of the cache, and one that comes from a server, with all that is known about what its bytes must be. Types and keys. */

import type { FileLocation } from './http/file-location.js'

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
  /** Names the file in the cache: its content, or its address where nothing else is known (see {@link contentName}). */
  readonly key: string
  readonly hash?: ExpectedHash | undefined
  /** ETag or Last-Modified that every answer must show where it shows one; only for files without a hash. */
  readonly validator?: string | undefined
  /** Keys of the files that it is made from here; absent for what is downloaded. */
  readonly madeFrom?: readonly string[] | undefined
}

export interface RemoteFile extends StoredFile {
  readonly location: FileLocation
}

/** The key of a file known by its address alone, whose content may become another. */
export function addressKey(url: string): string {
  return `url:${url}`
}

/** Whether `key` is of {@link addressKey}. */
export function isAddressKey(key: string): boolean {
  return key.startsWith('url:')
}

/** Names the bytes of a file: two files with one name have the same. Undefined where only the host could tell. */
export function contentName({ key, hash, validator }: StoredFile): string | undefined {
  if (hash !== undefined || !isAddressKey(key)) return key
  return validator === undefined ? undefined : `${key} ${validator}`
}

/** The key of a file whose bytes {@link contentName} named. */
export function keyOfContent(name: string): string {
  return isAddressKey(name) ? name.replace(/ .*$/s, '') : name
}

/** The key of content with a known hash. */
export function hashKey({ algorithm, hex }: ExpectedHash): string {
  return `${algorithm}:${hex}`
}
