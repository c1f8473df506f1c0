/**
 * Where a result is written: in `<out>.incomplete`, which gets the name at the end, so that what has the name is whole. Only a folder that
 * cannot be replaced (a mount point, the folder one stands in) is filled in place. All that can be refused is refused before the work.
 */

import { lstat, realpath, rmdir, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { InputError, StorageError } from '../src/errors.js'
import { formatBytes } from '../src/util/format-bytes.js'
import type { DiskRepository } from './disk-repository.js'
import { isWithin } from './is-within.js'
import { WorkFolder } from './work-folder.js'

export interface ShardTarget {
  /** The result's folder, links resolved. */
  readonly out: string
  /** Where it grows; `out` itself where that is filled in place. */
  readonly work: WorkFolder
}

/**
 * Finds the place for what has this fingerprint. Looks only.
 * @throws InputError `out-inside`, `out-exists`, `incomplete-exists`
 */
export async function findTarget(folder: string, out: string, fingerprint: string): Promise<ShardTarget> {
  const [source, real] = [await realpath(folder), await resolveLinks(resolve(out))]
  if (isWithin(source, real)) throw new InputError('out-inside', `--out ${out} lies in the folder that is read.`, { out })
  const there = await new WorkFolder(real).fingerprint().catch((error: NodeJS.ErrnoException) => {
    throw new InputError('out-exists', `--out ${out} is there already and is not a folder.`, { out }, error)
  })
  // Filled in place by a run that did not end, or given its name by one that was killed at its very end.
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
    throw new InputError('out-inside', `${work.path} is needed for unfinished files, but is read from.`, { out })
  if ((await work.fingerprint()) === null)
    throw new InputError(
      'incomplete-exists',
      `${work.path} is needed for unfinished files, but holds something else. Remove or rename it.`,
      { folder: work.path },
    )
  return { out: real, work }
}

/**
 * Makes room, and takes up what a run with the same fingerprint left. An empty folder that has the name goes now: at the end it would be
 * too late to learn that it cannot. @throws InputError `out-exists`
 */
export async function beginTarget({ out, work }: ShardTarget, fingerprint: string): Promise<ShardTarget> {
  const place = work.path === out || (await makeWay(out)) ? work : new WorkFolder(out)
  if ((await place.fingerprint()) === null) throw notEmpty(out)
  await place.begin(fingerprint)
  return { out, work: place }
}

/** Whether nothing has the name any more. */
async function makeWay(out: string): Promise<boolean> {
  // Whoever stands in the folder would stand in none.
  if (out === (await realpath(process.cwd()))) return false
  return rmdir(out).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )
}

/** @throws StorageError `disk-space` where so many bytes more have no room */
export async function checkSpace({ path }: WorkFolder, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  if (bytes > free)
    throw new StorageError(
      'disk-space',
      `The result needs ${formatBytes(bytes)} more, but ${path} has ${formatBytes(free)} free.`,
      { needed: bytes, free },
    )
}

/** What a result depends on: equal text, equal files. */
export async function fingerprintOf(repository: DiskRepository, options: object): Promise<string> {
  const sources = await Promise.all(
    (await repository.files()).map(async ({ path }) => {
      const { size, mtimeMs } = await stat(join(repository.folder, path))
      return [path, size, mtimeMs] as const
    }),
  )
  return JSON.stringify({ folder: repository.folder, options, sources })
}

function notEmpty(out: string): InputError {
  return new InputError(
    'out-exists',
    `--out ${out} is there already and not empty; nothing is overwritten. Choose another name or remove it.`,
    { out },
  )
}

/** The path without links, for what is not there too. @throws InputError `out-exists` for a link that leads nowhere */
async function resolveLinks(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    if ((await lstat(path).catch(() => null)) !== null)
      throw new InputError('out-exists', `${path} is a link that leads nowhere.`, { out: path }, error)
    const parent = dirname(path)
    return parent === path ? path : join(await resolveLinks(parent), basename(path))
  }
}
