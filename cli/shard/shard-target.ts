/**
 * Chooses the folder for a result: `<out>.incomplete`, which is renamed to `<out>` when it is complete. An `<out>` that cannot be replaced
 * (a mount point, the current folder) is filled in place instead. Every check is made before any work.
 */

import { lstat, realpath, rmdir, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { InputError, StorageError } from '../../src/errors.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { isWithin } from '../is-within.js'
import { WorkFolder } from './work-folder.js'

export interface ShardTarget {
  /** The result's folder, with links resolved. */
  readonly out: string
  /** The folder that is written to; `out` itself if it is filled in place. */
  readonly work: WorkFolder
}

/**
 * Finds the folders for a result with this fingerprint. `source`: the folder or file that is read, with links resolved. Changes nothing.
 * @throws InputError `out-inside`, `out-exists`, `incomplete-exists`
 */
export async function findTarget(source: string, out: string, fingerprint: string): Promise<ShardTarget> {
  const real = await resolveLinks(resolve(out))
  if (isWithin(source, real)) throw new InputError('out-inside', `--out ${out} is inside the source folder.`, { out })
  const there = await new WorkFolder(real).fingerprint().catch((error: NodeJS.ErrnoException) => {
    throw new InputError('out-exists', `--out ${out} already exists and is not a folder.`, { out }, error)
  })
  // `out` holds an unfinished result of the same request: an earlier run filled `out` in place, or was killed just after it had renamed its
  // work folder to `out`. This run continues there.
  if (there === fingerprint) return { out: real, work: new WorkFolder(real) }
  if (there === null) throw notEmpty(out)
  if (there !== undefined)
    throw new InputError(
      'out-exists',
      `--out ${out} is the unfinished result of other options or another source. Choose another name or remove it.`,
      { out },
    )
  const work = new WorkFolder(`${real}.incomplete`)
  if (isWithin(source, work.path) || isWithin(work.path, source))
    throw new InputError('out-inside', `${work.path} is needed for unfinished files, but it is the source folder.`, { out })
  if ((await work.fingerprint()) === null)
    throw new InputError(
      'incomplete-exists',
      `${work.path} is needed for unfinished files, but it has other content. Remove or rename it.`,
      { folder: work.path },
    )
  return { out: real, work }
}

/**
 * Prepares the folders and resumes the unfinished result of a run with the same fingerprint. An empty `out` is removed now, since a folder
 * that cannot be removed should be found before the work. @throws InputError `out-exists`
 */
export async function beginTarget({ out, work }: ShardTarget, fingerprint: string): Promise<ShardTarget> {
  const place = work.path === out || (await makeWay(out)) ? work : new WorkFolder(out)
  if ((await place.fingerprint()) === null) throw notEmpty(out)
  await place.begin(fingerprint)
  return { out, work: place }
}

/** Removes an empty folder. False if it cannot be removed. */
async function makeWay(out: string): Promise<boolean> {
  // A shell in the removed folder would have no current folder.
  if (out === (await realpath(process.cwd()))) return false
  return rmdir(out).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )
}

/** Checks the free space of the folder's disk. @throws StorageError `disk-space` if fewer than `bytes` are free */
export async function checkSpace({ path }: WorkFolder, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  if (bytes > free)
    throw new StorageError(
      'disk-space',
      `The result needs another ${formatBytes(bytes)}, but ${path} has ${formatBytes(free)} free.`,
      { needed: bytes, free },
    )
}

function notEmpty(out: string): InputError {
  return new InputError(
    'out-exists',
    `--out ${out} already exists and is not empty; nothing is overwritten. Choose another name or remove it.`,
    { out },
  )
}

/** The path with links resolved, also of a file that does not exist yet. @throws InputError `out-exists` for a broken link */
async function resolveLinks(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    if ((await lstat(path).catch(() => null)) !== null)
      throw new InputError('out-exists', `${path} is a broken link.`, { out: path }, error)
    const parent = dirname(path)
    return parent === path ? path : join(await resolveLinks(parent), basename(path))
  }
}
