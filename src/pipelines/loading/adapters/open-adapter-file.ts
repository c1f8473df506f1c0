/** Opens the file of a LoRA or of an embedding: by its address, in a repository, or from the user's disk. */

import type { FileInRepository } from '../../../checkpoint/layouts/single-file/single-file.js'
import { CheckpointError, UnsupportedError } from '../../../errors.js'
import type { Hub } from '../../../hub/hub.js'
import { openFile } from '../../../hub/repositories/open-file.js'
import { openRepository, type OpenRepositoryOptions } from '../../../hub/repositories/open-repository.js'
import type { OpenRepository, Repository } from '../../../hub/types.js'
import type { Run } from '../../run.js'
import type { LoadLoraOptions } from '../../adapter-types.js'

/** The address of a file or of a repository, a file that the user picked, or a file in an open repository. */
export type AdapterSource = string | File | FileInRepository

type AdapterFileOptions = Pick<LoadLoraOptions, 'weightName' | 'subfolder' | 'revision'>

/** The arguments of {@link openAdapterFile} besides the source. */
export interface AdapterFileRequest<Options extends AdapterFileOptions = AdapterFileOptions> {
  readonly hub: () => Promise<Hub>
  readonly options: Options & OpenRepositoryOptions
  readonly run: Run
}

/** A file and the repository that it is read through. */
interface FoundFile {
  readonly repository: Repository
  readonly path: string
  readonly close: () => void
}

/**
 * Opens the file of a LoRA or of an embedding. `usualName`: diffusers' name for such a file in a repository.
 * @throws InputError `bad-url`; HubError; CheckpointError `weights-not-found`; UnsupportedError `pickle-weights`
 */
export async function openAdapterFile(
  source: AdapterSource,
  { hub, options, run }: AdapterFileRequest,
  usualName: string,
): Promise<FoundFile> {
  if (typeof source === 'object' && 'repository' in source) return { ...source, close: () => {} }
  const opening = { ...options, signal: run.signal }
  const isAddress =
    typeof source !== 'string' || /\.(?:safetensors|bin|pt|ckpt)(?:[?#].*)?$|\/api\/download\/models\/\d+/i.test(source)
  const { repository, path } = isAddress
    ? await openFile(await hub(), source, opening)
    : await inRepository(await openRepository(await hub(), source, opening), options, usualName)
  const close = () => repository.close()
  if (!/\.(?:bin|pt|ckpt)$/i.test(path)) return { repository, path, close }
  close()
  throw new UnsupportedError(
    'pickle-weights',
    `${path} is in pickle format, which can run code. Only safetensors files are read.`,
    {
      files: [path],
    },
  )
}

/**
 * The file that diffusers would take from a repository: the one that `weightName` names, else one whose name ends with `usualName`, else
 * the first one. Without `weightName`, files with the state of a training run are skipped.
 */
async function inRepository(
  repository: OpenRepository,
  { weightName, subfolder }: AdapterFileOptions,
  usualName: string,
): Promise<{ readonly repository: OpenRepository; readonly path: string }> {
  const folder = subfolder === undefined ? '' : `${subfolder.replace(/\/+$/, '')}/`
  if (weightName !== undefined) return { repository, path: folder + weightName }
  try {
    const paths = (await repository.files()).map(({ path }) => path)
    const files = paths.filter((path) => path.startsWith(folder) && /^[^/]+\.safetensors$/.test(path.slice(folder.length)))
    const usable = files.filter((path) => !/scheduler|optimizer|checkpoint/.test(path))
    const path = usable.find((name) => name.endsWith(usualName)) ?? usable[0]
    if (path !== undefined) return { repository, path }
    throw new CheckpointError('weights-not-found', `${repository.id} has no usable safetensors file. Name one with weightName.`, {
      folder,
    })
  } catch (error) {
    repository.close()
    throw error
  }
}
