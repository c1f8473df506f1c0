/**
 * diffusers' own layout, which `save_pretrained` writes: model_index.json in the root of the repository, and one folder for each
 * component with its config and its weights.
 */

import { HubError, isAquatintError } from '../../errors.js'
import type { ByteSource, OpenOptions, ReadOptions, Repository } from '../../hub/types.js'
import type { JsonObject } from '../../util/parse-json.js'
import { readConfig } from '../read-config.js'
import type { Config, WeightLibrary } from '../types.js'
import { chooseWeightFiles, listVariants, type WeightFiles } from '../weight-files.js'
import { listWeightFiles, readArrivingTable, readWeightTable, type ReadWeightsOptions } from '../weight-table.js'
import type { ComponentFiles, ComponentWeights, Layout, WeightChoice } from './layout.js'
import { modelIndexName } from './diffusers-names.js'
import { parseModelIndex } from './model-index.js'
import { explainMissingIndex } from './not-a-pipeline.js'

/** The config of a network, of a scheduler and of a tokenizer. Each of them shows that a folder holds a component. */
const configNames = ['config.json', 'scheduler_config.json', 'tokenizer_config.json'] as const

/** The file with a component's config. */
export type ConfigName = (typeof configNames)[number]

/** Reads model_index.json. @throws CheckpointError `model-index-*`, `json-*`; HubError `file-not-found` */
export async function openDiffusersFolder(repository: Repository, options: ReadOptions = {}): Promise<Layout> {
  const index = parseModelIndex(await readIndex(repository, options))
  const components = [...index.components].map(([name, entry]) => {
    return [name, entry === null ? null : { ...entry, files: new FolderFiles(repository, name) }] as const
  })
  return { repository, ...index, components: new Map(components) }
}

async function readIndex(repository: Repository, options: ReadOptions): Promise<JsonObject> {
  try {
    return await readConfig(repository, modelIndexName, options)
  } catch (error) {
    if (!isAquatintError(error, 'file-not-found')) throw error
    const paths = (await repository.files(options)).map(({ path }) => path)
    if (paths.includes(modelIndexName)) throw error
    throw new HubError('file-not-found', explainMissingIndex(repository.id, paths), error.details, error)
  }
}

/** One component of a repository that may hold others, and the class that its config names. */
export interface LoneComponent {
  readonly files: ComponentFiles
  /** The class; undefined if the config names none. */
  readonly className: string | undefined
}

/**
 * Opens one component, whose config file is named `config`, in `folder`. By default this is the folder with the component's name, as in a pipeline's
 * repository, or else the root, as in the repository of a single model. @throws HubError; CheckpointError `json-*`, `config-not-object`
 */
export async function openFolderComponent(
  repository: Repository,
  name: string,
  config: ConfigName,
  folder: string | undefined,
  options: ReadOptions = {},
): Promise<LoneComponent> {
  const paths = new Set((await repository.files(options)).map((file) => file.path))
  const inOwnFolder = configNames.some((file) => paths.has(`${name}/${file}`))
  const files = new FolderFiles(repository, folder ?? (inOwnFolder ? name : ''))
  return { files, className: paths.has(files.path(config)) ? classOf(await files.readConfig(config, options)) : undefined }
}

/** The class that a config names: under diffusers' key, or transformers'. */
export function classOf(config: Config): string | undefined {
  const { _class_name: diffusers, architectures } = config
  if (typeof diffusers === 'string') return diffusers
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined
  return typeof first === 'string' ? first : undefined
}

/** The files of one folder of a repository; '' is its root. */
export class FolderFiles implements ComponentFiles {
  readonly repository: Repository
  readonly #folder: string

  /** @param folder without a slash at the end */
  constructor(repository: Repository, folder: string) {
    this.repository = repository
    this.#folder = folder
  }

  path(file: string): string {
    return this.#folder === '' ? file : `${this.#folder}/${file}`
  }

  async has(file: string, options?: ReadOptions): Promise<boolean> {
    return (await this.#paths(options)).includes(this.path(file))
  }

  open(file: string, options?: OpenOptions): Promise<ByteSource> {
    return this.repository.open(this.path(file), options)
  }

  readConfig(file: string, options?: ReadOptions): Promise<JsonObject> {
    return readConfig(this.repository, this.path(file), options)
  }

  async variants(library: WeightLibrary, options?: ReadOptions): Promise<readonly string[]> {
    return listVariants(await this.#paths(options), this.#folder, library)
  }

  async chooseWeights(choice: WeightChoice, options?: ReadOptions): Promise<ComponentWeights> {
    const files = chooseWeightFiles(await this.#paths(options), { folder: this.#folder, ...choice })
    return new FolderWeights(this.repository, files)
  }

  through(view: (repository: Repository) => Repository): ComponentFiles {
    return new FolderFiles(view(this.repository), this.#folder)
  }

  async #paths(options?: ReadOptions): Promise<readonly string[]> {
    return (await this.repository.files(options)).map((file) => file.path)
  }
}

class FolderWeights implements ComponentWeights {
  readonly variant: string | null
  readonly index: string | null
  readonly transforms = []
  readonly #repository: Repository
  readonly #files: WeightFiles

  constructor(repository: Repository, files: WeightFiles) {
    this.variant = files.variant
    this.index = files.kind === 'index' ? files.path : null
    this.#repository = repository
    this.#files = files
  }

  files(options?: ReadOptions) {
    return listWeightFiles(this.#repository, this.#files, options)
  }

  read(options?: ReadWeightsOptions) {
    return readWeightTable(this.#repository, this.#files, options)
  }

  readArriving(options?: ReadWeightsOptions) {
    return readArrivingTable(this.#repository, this.#files, options)
  }
}
