/**
 * Which files of a folder are served. Each request is held against the folder as it is: a file that was added is served, one that was
 * removed is not, and nothing is listed for it. Hidden files stay hidden, and so does what a link shows of the rest of the disk: whoever
 * made the repository may have made the link, and any page may read what is served.
 */

import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isSafePath } from '../src/hub/names.js'
import { DiskRepository } from './disk-repository.js'
import { isWithin } from './is-within.js'

/** A file of the folder by its path there. */
interface ListedFile {
  readonly path: string
  readonly size: number
}

/** A file on the disk, links resolved. */
export interface ServedFile {
  readonly path: string
  readonly size: number
  readonly mtimeMs: number
}

export class ServedFolder {
  readonly path: string
  readonly #followLinks: boolean

  /** @param followLinks also to what lies outside of the folder */
  constructor(path: string, followLinks: boolean) {
    this.path = path
    this.#followLinks = followLinks
  }

  /** The file that a path stands for, or undefined where there is none to serve. */
  async find(path: string): Promise<ServedFile | undefined> {
    // Also what a name means to other systems, and decoded once more.
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

  /** All files that are served, sorted, and the paths of those that are not. @throws InputError `not-a-folder` */
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
    // The Hub's cache keeps a snapshot's contents beside it: models--owner--name/{snapshots/<commit>,blobs}.
    const snapshots = dirname(root)
    return basename(snapshots) === 'snapshots' && isWithin(join(dirname(snapshots), 'blobs'), file)
  }
}
