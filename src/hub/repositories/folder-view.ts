/** Decides what an address of a folder in a repository opens: that folder, or the whole repository. */

import { HubError } from '../../errors.js'
import type { LayoutNames, OpenRepository, Repository } from '../types.js'

/** A repository on a server, whose files are cached. */
type RemoteRepository = OpenRepository & Required<Pick<Repository, 'openHeaderOnly' | 'drop'>>

/**
 * If the folder has the layout's index file, it is a whole pipeline: returns the folder as a repository of its own. Otherwise returns the whole
 * repository, with the folder in `folder` for callers that load one component: people paste the address of whatever folder they looked at last.
 * @param folder without a slash at its end
 * @throws HubError `file-not-found` where no file is in the folder
 */
export async function inFolder(
  repository: RemoteRepository,
  folder: string,
  layout: LayoutNames | undefined,
): Promise<OpenRepository> {
  const files = await repository.files()
  // The address is the page of a file whose name has no extension, such as LICENSE.
  if (files.some(({ path }) => path === folder)) {
    const parent = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))
    return parent === '' ? repository : inFolder(repository, parent, layout)
  }
  if (!files.some(({ path }) => path.startsWith(`${folder}/`))) {
    const message = `${repository.id} has no folder ${JSON.stringify(folder)}.`
    throw new HubError('file-not-found', message, { repository: repository.id, path: folder })
  }
  const isPipeline = layout !== undefined && files.some(({ path }) => path === `${folder}/${layout.index}`)
  return isPipeline ? view(repository, `${folder}/`, undefined) : view(repository, '', folder)
}

/** @param prefix the folder that the view shows, with a slash at its end, or '' for the whole repository. The view's paths leave it out. */
function view(repository: RemoteRepository, prefix: string, folder: string | undefined): OpenRepository {
  const { id, revision } = repository
  return {
    id,
    revision,
    folder,
    files: async (options) =>
      (await repository.files(options)).flatMap((file) =>
        file.path.startsWith(prefix) ? [{ ...file, path: file.path.slice(prefix.length) }] : [],
      ),
    open: (path, options) => repository.open(prefix + path, options),
    openHeaderOnly: (path, options) => repository.openHeaderOnly(prefix + path, options),
    drop: (path) => repository.drop(prefix + path),
    revalidateOnNextOpen: () => repository.revalidateOnNextOpen(),
    close: () => repository.close(),
  }
}
