/** What a repository holds, for the commands: its pipeline, its components, and which files hold their weights. Reads configs, no weights. */

import { readConfig, readModelIndex } from '../src/checkpoint/layouts/model-index.js'
import type { JsonObject } from '../src/util/parse-json.js'
import { chooseWeightFiles, type WeightFiles } from '../src/checkpoint/weight-files.js'
import type { WeightLibrary } from '../src/checkpoint/types.js'
import { CheckpointError, isAquatintError, type AquatintError } from '../src/errors.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'

/** A component of a repository. */
export interface ComponentFiles {
  /** Its name in model_index.json, which is its folder; '' for a repository that is one component. */
  readonly name: string
  readonly className: string
  /** As model_index.json says: `diffusers`, `transformers`, or a pipeline's module. */
  readonly library: string
  readonly config: JsonObject | null
  /** The library whose names its weight files have. */
  readonly weightLibrary: WeightLibrary
  /** Null for what has no weights (schedulers, tokenizers), and where `faults` say why none can be read. */
  readonly weights: WeightFiles | null
  /** What is wrong with its config and its weight files. One odd component must not hide what the others are. */
  readonly faults: readonly AquatintError[]
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

/** The fault of a component, for what its files caused; anything else (the network, an abort) is thrown on. */
export function faultOf(error: unknown): AquatintError {
  const ofItsFiles =
    isAquatintError(error) && (error.name !== 'HubError' || error.code === 'file-not-found' || error.code === 'file-too-large')
  if (!ofItsFiles) throw error
  return error
}

/**
 * Lists the components and chooses their weight files, as `DiffusionPipeline.from_pretrained(variant=…)` does. What is wrong with a
 * component is told in its `faults`.
 * @throws CheckpointError `not-a-checkpoint`, and those of reading model_index.json; HubError
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
  const faults: AquatintError[] = []
  const config = paths.includes(`${prefix}config.json`)
    ? await readConfig(repository, `${prefix}config.json`, options).catch((error: unknown) => {
        faults.push(faultOf(error))
        return null
      })
    : null
  const ownClass = config?._class_name
  const architecture = Array.isArray(config?.architectures) ? (config.architectures as readonly unknown[])[0] : undefined
  // A pipeline's own classes (the safety checker) are saved by the library that their config shows; without one, their files.
  const known = request.library === 'diffusers' || request.library === 'transformers' ? request.library : null
  const isNamedByDiffusers = config === null && paths.some((path) => path.startsWith(`${prefix}diffusion_pytorch_model.`))
  const weightLibrary: WeightLibrary =
    known ?? (typeof ownClass === 'string' || isNamedByDiffusers ? 'diffusers' : 'transformers')
  const configClass = typeof ownClass === 'string' ? ownClass : typeof architecture === 'string' ? architecture : ''
  const className = request.className === '' ? configClass : request.className
  const library = request.library === '' ? weightLibrary : request.library
  const hasWeights = paths.some((path) => path.startsWith(prefix) && !path.includes('/', prefix.length) && isWeightFile(path))
  let weights: WeightFiles | null = null
  if (hasWeights) {
    const { variant } = request
    try {
      weights = chooseWeightFiles(paths, { folder: name, library: weightLibrary, variant, missingVariant: 'fallback' })
    } catch (error) {
      faults.push(faultOf(error))
    }
  }
  return { name, className, library, config, weightLibrary, weights, faults }
}
