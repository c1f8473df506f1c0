/** Lists the content of a repository, for `inspect` and `shard`: its pipeline, its components, and the files that contain their weights. Reads configs, no weights. */

import { classOf, FolderFiles } from '../src/checkpoint/layouts/diffusers-folder.js'
import { modelIndexName } from '../src/checkpoint/layouts/diffusers-names.js'
import type { ComponentFiles, ComponentWeights, Layout } from '../src/checkpoint/layouts/layout.js'
import { explainMissingIndex } from '../src/checkpoint/layouts/not-a-pipeline.js'
import { openLayout } from '../src/checkpoint/layouts/open-layout.js'
import type { WeightLibrary } from '../src/checkpoint/types.js'
import { CheckpointError, isAquatintError, type AquatintError } from '../src/errors.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'
import type { JsonObject } from '../src/util/parse-json.js'

/** A component of a repository. */
export interface ComponentContents {
  /** Its name in model_index.json, which is its folder; '' for a repository that is one component. */
  readonly name: string
  readonly className: string
  /** The library that model_index.json names: `diffusers`, `transformers`, or a pipeline's own module. */
  readonly library: string
  readonly files: ComponentFiles
  readonly config: JsonObject | null
  /** The library that saved the component. It decides the names of the weight files. */
  readonly weightLibrary: WeightLibrary
  /** Null for components without weights (schedulers, tokenizers), and if the weight files cannot be chosen (`faults` say why). */
  readonly weights: ComponentWeights | null
  /** The errors in its config and its weight files. They do not keep other components from being listed. */
  readonly faults: readonly AquatintError[]
}

/** A repository and its components. */
export interface RepositoryContents {
  /** The checkpoint of a pipeline, or null for a repository that is one component. */
  readonly layout: Layout | null
  readonly components: readonly ComponentContents[]
}

/** Whether a file holds weights in any format, by its name. `aquatint shard` leaves out weight files that it did not choose. */
export function isWeightFile(path: string): boolean {
  return (
    /\.(?:safetensors|bin|pt|pth|ckpt|msgpack|h5|onnx|onnx_data|pb|gguf|ot|tflite|pkl)$/.test(path) ||
    /\.(?:safetensors|bin|h5|msgpack)(?:\.[\w-]+)?\.index(?:\.[\w-]+)?\.json$/.test(path)
  )
}

/** Returns an error that the files of a component caused; throws every other error, such as a network error or an abort. */
export function faultOf(error: unknown): AquatintError {
  const ofItsFiles =
    isAquatintError(error) && (error.name !== 'HubError' || error.code === 'file-not-found' || error.code === 'file-too-large')
  if (!ofItsFiles) throw error
  return error
}

/**
 * Lists the components and chooses their weight files, as `DiffusionPipeline.from_pretrained(variant=…)` does. Errors in one component are
 * in its `faults`.
 * @throws CheckpointError `not-a-checkpoint`, and the errors of reading model_index.json; HubError
 */
export async function readContents(
  repository: Repository,
  variant: string | null,
  options: ReadOptions = {},
): Promise<RepositoryContents> {
  const paths = (await repository.files(options)).map((file) => file.path)
  if (paths.includes(modelIndexName)) {
    const layout = await openLayout(repository, options)
    const components = await Promise.all(
      [...layout.components].flatMap(([name, component]) =>
        component === null ? [] : [readComponent({ name, ...component, variant }, paths, options)],
      ),
    )
    return { layout, components }
  }
  if (paths.includes('config.json')) {
    const files = new FolderFiles(repository, '')
    const component = await readComponent({ name: '', library: '', className: '', files, variant }, paths, options)
    return { layout: null, components: [component] }
  }
  throw new CheckpointError('not-a-checkpoint', explainMissingIndex(repository.id, paths), { repository: repository.id })
}

interface ComponentRequest {
  readonly name: string
  readonly library: string
  readonly className: string
  readonly files: ComponentFiles
  readonly variant: string | null
}

async function readComponent(
  { name, library, className, files, variant }: ComponentRequest,
  paths: readonly string[],
  options: ReadOptions,
): Promise<ComponentContents> {
  const prefix = files.path('')
  const faults: AquatintError[] = []
  const config = (await files.has('config.json', options))
    ? await files.readConfig('config.json', options).catch((error: unknown) => {
        faults.push(faultOf(error))
        return null
      })
    : null
  // For a class of a pipeline's own module (the safety checker), the config shows which library saved it. Without a config, the names of the
  // weight files show it.
  const known = library === 'diffusers' || library === 'transformers' ? library : null
  const isNamedByDiffusers = config === null && paths.some((path) => path.startsWith(`${prefix}diffusion_pytorch_model.`))
  const weightLibrary: WeightLibrary =
    known ?? (typeof config?._class_name === 'string' || isNamedByDiffusers ? 'diffusers' : 'transformers')
  const hasWeights = paths.some((path) => path.startsWith(prefix) && !path.includes('/', prefix.length) && isWeightFile(path))
  let weights: ComponentWeights | null = null
  if (hasWeights) {
    try {
      weights = await files.chooseWeights({ library: weightLibrary, variant, missingVariant: 'fallback' }, options)
    } catch (error) {
      faults.push(faultOf(error))
    }
  }
  return {
    name,
    className: className === '' ? ((config && classOf(config)) ?? '') : className,
    library: library === '' ? weightLibrary : library,
    files,
    config,
    weightLibrary,
    weights,
    faults,
  }
}
