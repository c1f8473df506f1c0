/** A checkpoint in a folder on the user's disk that the user picked or dropped on the page. Its files are read in place and not cached. */

import { HubError } from '../../errors.js'
import { throwIfAborted } from '../../util/abort.js'
import { checkReadRange } from '../cache/cached-source.js'
import { fileNotFound } from '../http/http-errors.js'
import { isSafePath, checkMaxBytes } from '../names.js'
import type { ByteRange, ByteSource, OpenOptions, ReadOptions, Repository, RepositoryFile } from '../types.js'

/** Limits on a folder: the user may pick a whole home folder by mistake. */
const maxFiles = 20_000
const maxDepth = 12

/** The repository of a folder that the user picked. */
export class FolderRepository implements Repository {
  readonly id: string
  readonly revision = 'folder'
  readonly #files: ReadonlyMap<string, File>

  private constructor(id: string, files: ReadonlyMap<string, File>) {
    this.id = id
    this.#files = files
  }

  /** The files of an `<input webkitdirectory>` or a drop. The folder that all of them are in gives the repository its name. */
  static fromFiles(list: Iterable<File>): FolderRepository {
    const files = [...list].map((file): [string, File] => [file.webkitRelativePath || file.name, file])
    const first = files[0]?.[0].split('/')[0] ?? ''
    const nested = files.length > 0 && files.every(([path]) => path.startsWith(`${first}/`))
    const found = new Map<string, File>()
    for (const [path, file] of files) add(found, nested ? path.slice(first.length + 1) : path, file)
    return new FolderRepository(nested ? first : 'folder', found)
  }

  /** A folder of the File System Access API. Its files are listed once. @throws HubError `too-many-files` */
  static async fromDirectory(handle: FileSystemDirectoryHandle, signal?: AbortSignal): Promise<FolderRepository> {
    const found = new Map<string, File>()
    const walk = async (folder: FileSystemDirectoryHandle, prefix: string, depth: number): Promise<void> => {
      for await (const [name, entry] of folder.entries()) {
        throwIfAborted(signal)
        // Names that begin with a dot belong to tools: .git, .cache.
        if (name.startsWith('.')) continue
        if (entry.kind === 'file') add(found, prefix + name, await entry.getFile())
        else if (depth < maxDepth) await walk(entry, `${prefix}${name}/`, depth + 1)
      }
    }
    await walk(handle, '', 1)
    return new FolderRepository(handle.name, found)
  }

  files(_options?: ReadOptions): Promise<readonly RepositoryFile[]> {
    const paths = [...this.#files.keys()].sort()
    return Promise.resolve(paths.map((path) => ({ path, size: this.#files.get(path)?.size ?? 0 })))
  }

  async open(path: string, options: OpenOptions = {}): Promise<ByteSource> {
    const file = this.#files.get(path)
    if (file === undefined) throw fileNotFound({ repository: this.id, path })
    checkMaxBytes(path, file.size, options.maxBytes)
    options.onProgress?.({ path, loaded: file.size, total: file.size, cached: file.size, phase: 'complete' })
    return new FileSource(path, file)
  }

  /** Does nothing: a folder is read again whenever it is opened. */
  revalidateOnNextOpen(): Promise<void> {
    return Promise.resolve()
  }

  /** Does nothing: no file is in use in the cache. */
  close(): void {}
}

function add(found: Map<string, File>, path: string, file: File): void {
  if (!isSafePath(path)) return
  if (found.size >= maxFiles)
    throw new HubError(
      'too-many-files',
      `The folder has more than ${maxFiles} files. Choose the folder of the checkpoint itself.`,
      {
        allowed: maxFiles,
      },
    )
  found.set(path, file)
}

class FileSource implements ByteSource {
  readonly byteLength: number
  readonly #path: string
  readonly #file: File

  constructor(path: string, file: File) {
    this.byteLength = file.size
    this.#path = path
    this.#file = file
  }

  async read(range: ByteRange, options: ReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    checkReadRange(range, this.byteLength, this.#path)
    throwIfAborted(options.signal)
    let bytes: Uint8Array<ArrayBuffer>
    try {
      bytes = new Uint8Array(await this.#file.slice(range.begin, range.end).arrayBuffer())
    } catch (error) {
      throw changed(this.#path, error)
    }
    if (bytes.length !== range.end - range.begin) throw changed(this.#path)
    return bytes
  }
}

/** Browsers refuse to read a file that was written after it was picked. */
function changed(path: string, cause?: unknown): HubError {
  return new HubError(
    'file-changed',
    `${path} was changed or moved after the folder was chosen. Choose the folder again.`,
    { path },
    cause,
  )
}
