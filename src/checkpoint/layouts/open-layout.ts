/**
 * Finds the layout of a repository. diffusers' folder is the only layout so far; a checkpoint in a single file would be recognized here,
 * by the files that a repository lists.
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
 * One component, such as the autoencoder that replaces a pipeline's own. `config` is the name of its config. `folder` is where it lies; without
 * it, the layout finds it by name. @throws HubError; CheckpointError `json-*`, `config-not-object`
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
