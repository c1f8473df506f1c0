/**
 * Opens the checkpoint of a repository in diffusers' layout. single-file/single-file.ts opens a checkpoint in a single file, by the
 * address of the file.
 */

import type { ReadOptions, Repository } from '../../hub/types.js'
import { openDiffusersFolder, openFolderComponent, type ConfigName, type LoneComponent } from './diffusers-folder.js'
import type { Layout } from './layout.js'

/** The file names to request from hosts that cannot list their files. */
export { diffusersNames as layoutNames } from './diffusers-names.js'

/** The checkpoint of a whole pipeline. @throws CheckpointError `model-index-*`, `json-*`; HubError `file-not-found` where there is none */
export function openLayout(repository: Repository, options: ReadOptions = {}): Promise<Layout> {
  return openDiffusersFolder(repository, options)
}

/**
 * Opens one component, such as the autoencoder that replaces a pipeline's own. `config` is the name of its config. `folder` holds the
 * component; default: the folder of its name, or else the root. @throws HubError; CheckpointError `json-*`, `config-not-object`
 */
export function openComponent(
  repository: Repository,
  name: string,
  config: ConfigName,
  folder: string | undefined,
  options: ReadOptions = {},
): Promise<LoneComponent> {
  return openFolderComponent(repository, name, config, folder, options)
}
