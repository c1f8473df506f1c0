/** Opens the source of `aquatint shard`: a folder in diffusers' layout, or a checkpoint in one file, which is read as if it were such a folder. */

import { realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Repository } from '../../src/hub/types.js'
import { DiskRepository } from '../disk-repository.js'
import { findRepository, type RemoteOptions } from '../inspect/find-repository.js'
import type { CommandIO } from '../output.js'

/** An open source. Close it after use. */
export interface ShardSource {
  readonly repository: Repository
  /** The folder or file on disk, with links resolved. */
  readonly path: string
  /** Identifies the state of the source, by paths, sizes and modification times: equal texts mean unchanged files. */
  readonly state: () => Promise<string>
  readonly close: () => Promise<void>
}

/** Opens a folder or a file. @throws InputError `not-a-folder`; for a file UnsupportedError `single-file-family`, `pickle-weights`; CheckpointError; HubError */
export async function openSource(target: string, remote: RemoteOptions, io: CommandIO): Promise<ShardSource> {
  if ((await stat(target).catch(() => null))?.isFile() === true) return openFile(target, remote, io)
  const repository = new DiskRepository(target)
  // For a folder that cannot be read, listing the files throws an error that says what is wrong.
  await repository.files()
  const path = await realpath(target)
  const state = () => stateOfFolder(new DiskRepository(target))
  return { repository, path, state, close: () => repository.close() }
}

async function openFile(target: string, remote: RemoteOptions, io: CommandIO): Promise<ShardSource> {
  const found = await findRepository(target, remote, io)
  const { repository } = found
  const path = await realpath(target)
  // Sizes of configs are read once: changes of configs on disk during a run are not noticed. Configs on a Hub belong to one commit.
  const files = (await repository.files({ signal: io.signal })).map((file) => [file.path, file.size])
  const state = async () => {
    const { size, mtimeMs } = await stat(path)
    return JSON.stringify({ file: path, size, mtimeMs, files })
  }
  return { repository, path, state, close: () => found.close() }
}

async function stateOfFolder(repository: DiskRepository): Promise<string> {
  const sources = await Promise.all(
    (await repository.files()).map(async ({ path }) => {
      const { size, mtimeMs } = await stat(join(repository.folder, path))
      return [path, size, mtimeMs] as const
    }),
  )
  return JSON.stringify({ folder: repository.folder, sources })
}
