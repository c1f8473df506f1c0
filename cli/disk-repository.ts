/** A folder on disk as a repository. Each read reads from the file; only the list of files is cached. */

import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { HubError, InputError } from '../src/errors.js'
import type { ByteRange, ByteSource, ReadOptions, Repository, RepositoryFile } from '../src/hub/types.js'

/** A repository in a folder on disk. Close it after use: it keeps its files open. */
export class DiskRepository implements Repository {
  readonly id: string
  readonly revision = 'local'
  readonly folder: string
  readonly #handles: FileHandle[] = []
  readonly #open = new Map<string, Promise<ByteSource>>()
  #files: Promise<readonly RepositoryFile[]> | undefined

  constructor(folder: string) {
    this.folder = resolve(folder)
    this.id = basename(this.folder)
  }

  /** The repository of a single file: other files of its folder are not listed. */
  static ofFile(path: string): DiskRepository {
    const repository = new DiskRepository(dirname(resolve(path)))
    const name = basename(path)
    repository.#files = stat(path).then(({ size }) => [{ path: name, size }])
    return repository
  }

  /** Every file below the folder except hidden ones, sorted by path. Links are followed, because snapshots in the Hub's cache consist of links. */
  files(): Promise<readonly RepositoryFile[]> {
    this.#files ??= listFolder(this.folder)
    return this.#files
  }

  open(path: string): Promise<ByteSource> {
    let source = this.#open.get(path)
    if (source === undefined) {
      source = this.#openFile(path)
      this.#open.set(path, source)
    }
    return source
  }

  async #openFile(path: string): Promise<ByteSource> {
    if (!(await this.files()).some((file) => file.path === path))
      throw new HubError('file-not-found', `${this.folder} has no file ${path}.`, { path })
    const handle = await open(join(this.folder, path))
    this.#handles.push(handle)
    return new FileSource(handle, (await handle.stat()).size, path)
  }

  /** Closes its files. */
  async close(): Promise<void> {
    await Promise.all(this.#handles.splice(0).map((handle) => handle.close()))
    this.#open.clear()
  }
}

class FileSource implements ByteSource {
  readonly byteLength: number
  readonly #handle: FileHandle
  readonly #path: string

  constructor(handle: FileHandle, byteLength: number, path: string) {
    this.#handle = handle
    this.byteLength = byteLength
    this.#path = path
  }

  async read(range: ByteRange, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>> {
    const result = new Uint8Array(range.end - range.begin)
    for (let at = 0; at < result.byteLength;) {
      options?.signal?.throwIfAborted()
      const { bytesRead } = await this.#handle.read(result, at, result.byteLength - at, range.begin + at)
      if (bytesRead === 0)
        throw new HubError(
          'file-changed',
          `${this.#path} ends at byte ${range.begin + at}; it was ${this.byteLength} bytes long when it was opened.`,
          {
            path: this.#path,
          },
        )
      at += bytesRead
    }
    return result
  }
}

async function listFolder(root: string): Promise<readonly RepositoryFile[]> {
  const info = await stat(root).catch(() => null)
  if (info === null || !info.isDirectory())
    throw new InputError('not-a-folder', `${root} ${info === null ? 'does not exist' : 'is not a folder'}.`, { folder: root })
  const files: RepositoryFile[] = []
  const visit = async (folder: string, prefix: string, depth: number): Promise<void> => {
    // Links can form a cycle.
    if (depth > 16)
      throw new InputError('folder-depth', `${folder} is nested too deeply; at most 16 levels are read.`, { folder })
    for (const name of await readdir(folder)) {
      if (name.startsWith('.')) continue
      const entry = await stat(join(folder, name)).catch(() => null)
      if (entry?.isDirectory() === true) await visit(join(folder, name), `${prefix}${name}/`, depth + 1)
      else if (entry?.isFile() === true) files.push({ path: prefix + name, size: entry.size })
    }
  }
  await visit(root, '', 0)
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1))
}
