/** Opens a checkpoint in one file: the file itself, its header, and the repository with the configs of its family. */

import type { Layout } from '../../checkpoint/layouts/layout.js'
import { checkSingleFileName, openSingleFile, type FileInRepository } from '../../checkpoint/layouts/single-file/single-file.js'
import { readTensorFile } from '../../checkpoint/tensor-file.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'
import type { Hub } from '../../hub/hub.js'
import { isSingleFileAddress, openFile } from '../../hub/repositories/open-file.js'
import type { OpenRepositoryOptions } from '../../hub/repositories/open-repository.js'
import type { OpenRepository, Repository } from '../../hub/types.js'
import type { Run } from '../run.js'
import type { LoadPipelineOptions, SingleFileReference } from '../types.js'
import type { OpenByName } from './find-components.js'

/** A {@link SingleFileReference}, in which open repositories may stand for addresses. */
export interface SingleFileSource {
  readonly singleFile: SingleFileReference['singleFile'] | FileInRepository
  readonly config?: string | Repository | undefined
}

/** What opening needs besides the options. */
export interface Opening {
  readonly hub: () => Promise<Hub>
  readonly open: OpenByName
  /** Receives each repository that is opened, to be closed with the pipeline. */
  readonly opened: OpenRepository[]
  readonly run: Run
}

/** Whether a pipeline's source is a checkpoint in one file. For a string: whether it is the address of such a file or its Hub page. */
export function isSingleFile(source: string | Repository | SingleFileSource): boolean {
  return typeof source === 'string' ? isSingleFileAddress(source) : 'singleFile' in source
}

/** Opens the file and the repository with its configs. @throws UnsupportedError `single-file-family`, `pickle-weights`; CheckpointError; HubError; InputError `bad-url` */
export async function openSingleFileLayout(
  source: string | SingleFileSource,
  options: OpenRepositoryOptions & Pick<LoadPipelineOptions, 'components'>,
  { hub, open, opened, run }: Opening,
): Promise<Layout> {
  const { signal } = run
  const { singleFile, config } = typeof source === 'string' ? { singleFile: source, config: undefined } : source
  const file = isOpen(singleFile) ? singleFile : await openFile(await hub(), singleFile, { ...options, signal })
  if (!isOpen(singleFile)) opened.push(file.repository as OpenRepository)
  checkSingleFileName(file.path)
  const bytes = await headersOnly(file.repository).open(file.path, { signal })
  return openSingleFile(
    {
      file,
      header: await readTensorFile(bytes, file.path, { signal }),
      config: typeof config === 'string' ? await open(config, undefined) : config,
      open: (id) => open(id, undefined),
      replaced: Object.keys(options.components ?? {}),
      warn: (code, message) => run.warn(code, message),
    },
    { signal },
  )
}

function isOpen(file: SingleFileSource['singleFile']): file is FileInRepository {
  return typeof file === 'object' && 'repository' in file
}
