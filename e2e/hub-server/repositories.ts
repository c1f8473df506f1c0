/** The repositories that the test server serves: a folder or files in memory, listed with the hashes that the live Hub publishes. */

import { createHash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** A file whose bytes are computed when they are read, so that a large file needs no disk space. */
export interface VirtualFile {
  readonly size: number
  read(begin: number, end: number): Promise<Uint8Array> | Uint8Array
}

/** A folder's path, or files by their path in the repository. */
export type RepositoryContent = string | Readonly<Record<string, string | Uint8Array | VirtualFile>>

/** One file with its hashes. */
export interface ServedFile extends VirtualFile {
  readonly path: string
  readonly lfs: boolean
  /** The sha256 of the whole file. */
  readonly sha256: string
  /** Git's blob hash: of the content, or of the LFS pointer. */
  readonly oid: string
}

/** All files of a repository at one commit, sorted by path. */
export interface Snapshot {
  readonly commit: string
  readonly files: readonly ServedFile[]
}

const block = 1 << 20

/** A file of `size` random-looking bytes, which are the same for the same `seed`. */
export function syntheticFile(size: number, seed = 1): VirtualFile {
  const base = new Uint32Array(block / 4)
  let state = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < base.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    base[i] = state >>> 0
  }
  const pattern = Buffer.from(base.buffer)
  return {
    size,
    read(begin, end) {
      const bytes = Buffer.allocUnsafe(end - begin)
      for (let at = begin; at < end;) {
        const index = Math.floor(at / block)
        const from = at - index * block
        const count = Math.min(block - from, end - at)
        pattern.copy(bytes, at - begin, from, from + count)
        // Each block starts with its number, so that no two blocks are equal.
        for (let k = from; k < Math.min(8, from + count); k++) bytes[at - begin + k - from] = (index >>> (8 * (k & 3))) & 255
        at += count
      }
      return bytes
    },
  }
}

/** Reads a repository and hashes its files. The commit is a hash of the paths and contents. */
export async function takeSnapshot(content: RepositoryContent): Promise<Snapshot> {
  const found = typeof content === 'string' ? await filesOfFolder(content) : filesInMemory(content)
  const files: ServedFile[] = []
  for (const [path, file] of found.sort(([a], [b]) => (a < b ? -1 : 1))) files.push(await hashFile(path, file))
  const commit = createHash('sha1')
  for (const file of files) commit.update(`${file.path}\0${file.sha256}\n`)
  return { commit: commit.digest('hex'), files }
}

function filesInMemory(content: Exclude<RepositoryContent, string>): [string, VirtualFile][] {
  return Object.entries(content).map(([path, value]) => {
    if (typeof value === 'object' && 'read' in value) return [path, value]
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    return [path, { size: bytes.length, read: (begin, end) => bytes.subarray(begin, end) }]
  })
}

async function filesOfFolder(folder: string): Promise<[string, VirtualFile][]> {
  const found: [string, VirtualFile][] = []
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const full = join(entry.parentPath, entry.name)
    const { size } = await stat(full)
    found.push([
      full.slice(folder.length).replaceAll('\\', '/').replace(/^\/+/, ''),
      { size, read: (begin, end) => readPart(full, begin, end) },
    ])
  }
  return found
}

async function readPart(path: string, begin: number, end: number): Promise<Uint8Array> {
  const handle = await open(path)
  try {
    const bytes = Buffer.allocUnsafe(end - begin)
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, begin)
    return bytes.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

const hashes = new WeakMap<VirtualFile, Promise<string>>()

/** Hex sha256 of a file, computed once even if many repositories have it. */
export function sha256Of(file: VirtualFile): Promise<string> {
  const known = hashes.get(file) ?? hashWhole(file)
  hashes.set(file, known)
  return known
}

async function hashWhole(file: VirtualFile): Promise<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < file.size; at += 4 * block) hash.update(await file.read(at, Math.min(at + 4 * block, file.size)))
  return hash.digest('hex')
}

async function hashFile(path: string, file: VirtualFile): Promise<ServedFile> {
  const lfs = /\.(safetensors|bin|onnx|onnx_data|pt|ckpt|msgpack)$/.test(path) || file.size > 10 << 20
  const sha256 = await sha256Of(file)
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${file.size}\n`
  const blob = lfs ? Buffer.from(pointer) : await file.read(0, file.size)
  const oid = createHash('sha1').update(`blob ${blob.length}\0`).update(blob).digest('hex')
  return { path, lfs, sha256, oid, size: file.size, read: (begin, end) => file.read(begin, end) }
}
