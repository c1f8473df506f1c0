/**
 * Where each component of a pipeline comes from: the pipeline's own repository, or another that the caller swaps in. Opens repositories
 * and reads small files; no weights.
 */

import type { ComponentClass, ModelIndex } from '../../checkpoint/layouts/model-index.js'
import { checkVariantName } from '../../checkpoint/weight-files.js'
import type { Config } from '../../checkpoint/types.js'
import { InputError } from '../../errors.js'
import type { Repository } from '../../hub/types.js'
import type { ComponentReference, LoadPipelineOptions } from '../types.js'
import { readConfig } from '../../checkpoint/read-config.js'

/** A component's place. */
export interface ComponentSource {
  readonly name: string
  readonly repository: Repository
  /** Folder without a slash at the end; '' is the repository's root. */
  readonly folder: string
  readonly className: string
  readonly variant: string | undefined
  /** Whether the caller swapped it in. */
  readonly swapped: boolean
  readonly missingVariant: 'fallback' | 'strict'
}

/** Opens a repository by the name a caller gives. */
export type OpenByName = (repo: string, revision: string | undefined) => Promise<Repository>

/** The file that tells a network's, a scheduler's and a tokenizer's folder. */
const configNames = ['config.json', 'scheduler_config.json', 'tokenizer_config.json']

const subfolderPattern = /^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/

/** Checks what the caller says about components. @throws InputError `components`, `variant-name` */
export function checkComponentOptions(options: LoadPipelineOptions): void {
  if (options.variant !== undefined) checkVariantName(options.variant)
  for (const [name, reference] of Object.entries(options.components ?? {})) {
    if (reference === null || typeof reference === 'string') continue
    const { subfolder, variant } = reference
    if (typeof reference.repo !== 'string')
      throw new InputError('components', `components.${name} names no repository.`, { component: name })
    if (subfolder !== undefined && subfolder !== '' && !subfolderPattern.test(subfolder))
      throw new InputError(
        'components',
        `components.${name}.subfolder is ${JSON.stringify(subfolder.slice(0, 200))}; expected a plain folder name.`,
        {
          component: name,
          subfolder: subfolder.slice(0, 200),
        },
      )
    if (variant !== undefined) checkVariantName(variant)
  }
}

/**
 * The place and class of every component that model_index.json names and the caller did not leave out. `ignored`: components that the
 * pipeline never uses; leaving one of them out is fine where there is none.
 * @throws InputError `components` for a component that the pipeline does not have
 */
export async function findComponents(
  repository: Repository,
  index: ModelIndex,
  options: LoadPipelineOptions,
  open: OpenByName,
  ignored: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, ComponentSource>> {
  const references = options.components ?? {}
  for (const [name, reference] of Object.entries(references)) {
    if (reference === null && ignored.includes(name)) continue
    if (!index.components.has(name))
      throw new InputError(
        'components',
        `components has ${JSON.stringify(name)}, which ${index.className} of this repository does not; it has ${[...index.components.keys()].join(', ')}.`,
        { component: name, allowed: [...index.components.keys()] },
      )
  }
  const found = await Promise.all(
    [...index.components].map(async ([name, entry]): Promise<ComponentSource | null> => {
      const reference = Object.hasOwn(references, name) ? references[name] : undefined
      if (reference === null) return null
      if (reference !== undefined)
        return swappedSource(
          name,
          entry,
          typeof reference === 'string' ? { repo: reference } : reference,
          options.variant,
          open,
          signal,
        )
      if (entry === null) return null
      return {
        name,
        repository,
        folder: name,
        className: entry.className,
        variant: options.variant,
        swapped: false,
        missingVariant: 'fallback',
      }
    }),
  )
  return new Map(found.filter((source) => source !== null).map((source) => [source.name, source]))
}

async function swappedSource(
  name: string,
  entry: ComponentClass | null,
  reference: ComponentReference,
  variant: string | undefined,
  open: OpenByName,
  signal: AbortSignal | undefined,
): Promise<ComponentSource> {
  const repository = await open(reference.repo, reference.revision)
  const paths = new Set((await repository.files({ signal })).map((file) => file.path))
  // A whole pipeline's repository has the component in its folder, a model's own repository in the root.
  const inOwnFolder = configNames.some((file) => paths.has(`${name}/${file}`))
  const folder = reference.subfolder ?? (inOwnFolder ? name : '')
  const config = configNames.map((file) => inFolder({ folder }, file)).find((path) => paths.has(path))
  const named = config === undefined ? undefined : classOf(await readConfig(repository, config, { signal }))
  return {
    name,
    repository,
    folder,
    className: named ?? entry?.className ?? 'unknown',
    variant: reference.variant ?? variant,
    swapped: true,
    missingVariant: reference.variant === undefined ? 'fallback' : 'strict',
  }
}

/** The class that a config says it is of: diffusers' key, or transformers'. */
function classOf(config: Config): string | undefined {
  const { _class_name: diffusers, architectures } = config
  if (typeof diffusers === 'string') return diffusers
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined
  return typeof first === 'string' ? first : undefined
}

/** A path inside a component's folder. */
export function inFolder(source: Pick<ComponentSource, 'folder'>, file: string): string {
  return source.folder === '' ? file : `${source.folder}/${file}`
}
