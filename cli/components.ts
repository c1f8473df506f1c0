/** What a repository holds, for the commands: its pipeline, its components, and which files hold their weights. Reads configs, no weights. */

import { readConfig, readModelIndex } from '../src/checkpoint/model-index.js'
import type { JsonObject } from '../src/util/parse-json.js'
import { chooseWeightFiles, type WeightFiles, type WeightLibrary } from '../src/checkpoint/weight-files.js'
import { CheckpointError } from '../src/errors.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'

/** A component of a repository. */
export interface ComponentFiles {
  /** Its name in model_index.json, which is its folder; '' for a repository that is one component. */
  readonly name: string
  readonly className: string
  /** As model_index.json says: `diffusers`, `transformers`, or a pipeline's module. */
  readonly library: string
  readonly config: JsonObject | null
  /** Null for what has no weights: schedulers, tokenizers. */
  readonly weights: (WeightFiles & { readonly library: WeightLibrary }) | null
}

export interface RepositoryContents {
  /** The pipeline's class, or null for a repository that is one component. */
  readonly pipeline: string | null
  readonly components: readonly ComponentFiles[]
}

/** Files that hold weights in some format, by their names: what is not chosen of them is left behind when a repository is written anew. */
export function isWeightFile(path: string): boolean {
  return (
    /\.(?:safetensors|bin|pt|pth|ckpt|msgpack|h5|onnx|onnx_data|pb|gguf|ot|tflite|pkl)$/.test(path) ||
    /\.(?:safetensors|bin|h5|msgpack)(?:\.[\w-]+)?\.index(?:\.[\w-]+)?\.json$/.test(path)
  )
}

/**
 * Lists the components and chooses their weight files, as `DiffusionPipeline.from_pretrained(variant=…)` does.
 * @throws CheckpointError `not-a-checkpoint`, and those of reading configs and choosing files
 */
export async function readContents(
  repository: Repository,
  variant: string | null,
  options: ReadOptions = {},
): Promise<RepositoryContents> {
  const paths = (await repository.files(options)).map((file) => file.path)
  if (paths.includes('model_index.json')) {
    const index = await readModelIndex(repository, options)
    const present = [...index.components].flatMap(([name, component]) => (component === null ? [] : [{ name, ...component }]))
    const components = await Promise.all(
      present.map(({ name, library, className }) =>
        readComponent(repository, paths, { name, library, className, variant }, options),
      ),
    )
    return { pipeline: index.className, components }
  }
  if (paths.includes('config.json')) {
    const component = await readComponent(repository, paths, { name: '', library: '', className: '', variant }, options)
    return { pipeline: null, components: [component] }
  }
  const single = paths.find((path) => !path.includes('/') && /\.(?:safetensors|ckpt)$/.test(path))
  throw new CheckpointError(
    'not-a-checkpoint',
    single === undefined
      ? `${repository.id} has neither model_index.json nor config.json: it is no repository in diffusers' layout.`
      : `${repository.id} holds a checkpoint in a single file (${single}) and no model_index.json. Load it with diffusers' from_single_file and save it with save_pretrained.`,
    { repository: repository.id },
  )
}

interface ComponentRequest {
  readonly name: string
  readonly library: string
  readonly className: string
  readonly variant: string | null
}

async function readComponent(
  repository: Repository,
  paths: readonly string[],
  request: ComponentRequest,
  options: ReadOptions,
): Promise<ComponentFiles> {
  const { name } = request
  const prefix = name === '' ? '' : `${name}/`
  const config = paths.includes(`${prefix}config.json`) ? await readConfig(repository, `${prefix}config.json`, options) : null
  const ownClass = config?._class_name
  const architecture = Array.isArray(config?.architectures) ? (config.architectures as readonly unknown[])[0] : undefined
  // A pipeline's own classes (the safety checker) are saved by the library that their config shows.
  const known = request.library === 'diffusers' || request.library === 'transformers' ? request.library : null
  const library: WeightLibrary = known ?? (typeof ownClass === 'string' ? 'diffusers' : 'transformers')
  const configClass = typeof ownClass === 'string' ? ownClass : typeof architecture === 'string' ? architecture : ''
  const className = request.className === '' ? configClass : request.className
  const hasWeights = paths.some((path) => path.startsWith(prefix) && !path.includes('/', prefix.length) && isWeightFile(path))
  const chosen = hasWeights
    ? chooseWeightFiles(paths, { folder: name, library, variant: request.variant, missingVariant: 'fallback' })
    : null
  return {
    name,
    className,
    library: request.library === '' ? library : request.library,
    config,
    weights: chosen === null ? null : { ...chosen, library },
  }
}
