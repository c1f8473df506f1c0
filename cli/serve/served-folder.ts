/**
 * Which files of a folder are served. Each request looks at the folder as it is now, so added files are served and removed ones are not.
 * Hidden files are not served, and neither are links to files outside of the folder: the author of an untrusted repository may have made
 * the link, and any page may read what is served.
 */

import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isSafePath } from '../../src/hub/names.js'
import { DiskRepository } from '../disk-repository.js'
import { isWithin } from '../is-within.js'

/** A file by its path in the folder. */
interface ListedFile {
  readonly path: string
  readonly size: number
}

/** A file by its absolute path, with links resolved. */
export interface ServedFile {
  readonly path: string
  readonly size: number
  readonly mtimeMs: number
}

/** A folder whose files are served. */
export class ServedFolder {
  readonly path: string
  readonly #followLinks: boolean

  /** @param followLinks whether links to files outside of the folder are served */
  constructor(path: string, followLinks: boolean) {
    this.path = path
    this.#followLinks = followLinks
  }

  /** The file at a path, or undefined if there is none or it is not served. */
  async find(path: string): Promise<ServedFile | undefined> {
    // isSafePath also rejects names that have a special meaning on other systems, even if they are percent-encoded.
    if (!isSafePath(path) || path.split('/').some((part) => part.startsWith('.'))) return undefined
    try {
      const file = await realpath(join(this.path, path))
      if (!this.#followLinks && !(await this.#isOwn(file))) return undefined
      const info = await stat(file)
      return info.isFile() ? { path: file, size: info.size, mtimeMs: info.mtimeMs } : undefined
    } catch {
      return undefined
    }
  }

  /** All files that are served, sorted, and the paths of the others, without hidden files. @throws InputError `not-a-folder` */
  async list(): Promise<{ readonly served: readonly ListedFile[]; readonly refused: readonly string[] }> {
    const paths = (await new DiskRepository(this.path).files()).map(({ path }) => path)
    const files = await Promise.all(paths.map(async (path) => ({ path, file: await this.find(path) })))
    return {
      served: files.flatMap(({ path, file }) => (file === undefined ? [] : [{ path, size: file.size }])),
      refused: files.flatMap(({ path, file }) => (file === undefined ? [path] : [])),
    }
  }

  async #isOwn(file: string): Promise<boolean> {
    const root = await realpath(this.path)
    if (isWithin(root, file)) return true
    // The files of a snapshot in the Hub's cache are links to models--owner--name/blobs; the snapshot is in models--owner--name/snapshots.
    const snapshots = dirname(root)
    return basename(snapshots) === 'snapshots' && isWithin(join(dirname(snapshots), 'blobs'), file)
  }
}
