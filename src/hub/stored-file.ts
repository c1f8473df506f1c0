/** A file of the cache, with what is known about the bytes it must have, and the keys that identify it. */

/** The hash that the whole file must have. `git-sha1` is git's hash of a blob: of the word `blob`, the length and the content. */
export interface ExpectedHash {
  readonly algorithm: 'sha256' | 'git-sha1'
  readonly hex: string
}

/** A file of the cache. */
export interface StoredFile {
  /** Name of the repository, for display. */
  readonly repository: string
  readonly path: string
  readonly revision?: string | undefined
  readonly size: number
  /** Identifies the file in the cache, by its content, or by its address when nothing is known about its content. */
  readonly key: string
  readonly hash?: ExpectedHash | undefined
  /** The ETag or Last-Modified value that every response with such a header must have; only for files without a hash. */
  readonly validator?: string | undefined
  /** Keys of the files that it is made from; absent for a file that is downloaded. */
  readonly madeFrom?: readonly string[] | undefined
}

/** The key of a file that only its URL identifies. The content at this URL may change. */
export function addressKey(url: string): string {
  return `url:${url}`
}

/** Whether `key` comes from {@link addressKey}. */
export function isAddressKey(key: string): boolean {
  return key.startsWith('url:')
}

/** A text that identifies the bytes of a file: files with equal texts have equal bytes. Undefined when only the host knows whether the bytes changed. */
export function contentName({ key, hash, validator }: StoredFile): string | undefined {
  if (hash !== undefined || !isAddressKey(key)) return key
  return validator === undefined ? undefined : `${key} ${validator}`
}

/** The key of a file, from what {@link contentName} returned for it. */
export function keyOfContent(name: string): string {
  return isAddressKey(name) ? name.replace(/ .*$/s, '') : name
}

/** The key of a file with a known hash. */
export function hashKey({ algorithm, hex }: ExpectedHash): string {
  return `${algorithm}:${hex}`
}
