/**
 * `model_index.json` and `config.json`: what a repository says it holds. Reading and shape checks only; whether a class or a config
 * value can be run is the business of pipelines, models and schedulers.
 */

import { CheckpointError } from '../../errors.js'
import type { ReadOptions, Repository } from '../../hub/types.js'
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from '../../util/parse-json.js'
import type { Config } from '../types.js'

/** `config.json` and the like may be this long. */
export const maxConfigBytes = 10_000_000
const maxComponents = 100

/** A component as model_index.json names it. */
export interface ComponentClass {
  /** `diffusers`, `transformers`, or the module of a pipeline such as `stable_diffusion`. */
  readonly library: string
  readonly className: string
}

export interface ModelIndex {
  /** The pipeline's class, such as `StableDiffusionXLPipeline`. */
  readonly className: string
  /** Component name, which is its folder → its class; null where the repository leaves it out. */
  readonly components: ReadonlyMap<string, ComponentClass | null>
  /** The pipeline's own options, such as `force_zeros_for_empty_prompt`. */
  readonly options: Config
}

/** Reads a JSON file of a repository as an object. @throws HubError `file-too-large`; CheckpointError `json-*`, `config-not-object` */
export async function readConfig(repository: Repository, path: string, options: ReadOptions = {}): Promise<JsonObject> {
  const source = await repository.open(path, { ...options, maxBytes: maxConfigBytes })
  if (source.byteLength > maxConfigBytes)
    throw new CheckpointError(
      'json-too-large',
      `${path} is ${source.byteLength} bytes long; at most ${maxConfigBytes} are read.`,
      {
        file: path,
        bytes: source.byteLength,
        allowed: maxConfigBytes,
      },
    )
  return parseConfig(await source.read({ begin: 0, end: source.byteLength }, options), path)
}

/** Parses a config. Keys keep diffusers' names; `Infinity` and `NaN` are read as Python writes them. */
export function parseConfig(bytes: Uint8Array, file: string): JsonObject {
  const json = parseJson(bytes, { file, maxBytes: maxConfigBytes, duplicateKeys: 'last' })
  if (!isJsonObject(json)) throw new CheckpointError('config-not-object', `${file} does not hold an object.`, { file })
  return json
}

/** Reads and checks model_index.json. @throws CheckpointError `model-index-*`, HubError `file-not-found` */
export async function readModelIndex(repository: Repository, options: ReadOptions = {}): Promise<ModelIndex> {
  return parseModelIndex(await readConfig(repository, 'model_index.json', options))
}

/** Sorts the keys of model_index.json into class, components and options. */
export function parseModelIndex(json: JsonObject): ModelIndex {
  const file = 'model_index.json'
  const className = json._class_name
  if (typeof className !== 'string' || !/^[A-Za-z_]\w{0,127}$/.test(className))
    throw new CheckpointError('model-index-class', `_class_name in ${file} is not the name of a pipeline.`, { file })
  const components = new Map<string, ComponentClass | null>()
  const options: Record<string, JsonValue> = {}
  for (const [key, value] of Object.entries(json)) {
    if (key.startsWith('_')) continue
    const component = componentClass(value)
    if (component === undefined) {
      options[key] = value
      continue
    }
    // The name becomes a folder of the repository.
    if (!/^[A-Za-z]\w{0,63}$/.test(key))
      throw new CheckpointError(
        'model-index-component',
        `${JSON.stringify(key.slice(0, 100))} in ${file} is not a component's name.`,
        {
          file,
          component: key.slice(0, 100),
        },
      )
    components.set(key, component)
  }
  if (components.size === 0 || components.size > maxComponents)
    throw new CheckpointError(
      'model-index-components',
      `${file} names ${components.size} components; allowed are 1 to ${maxComponents}.`,
      {
        file,
        components: components.size,
        allowed: maxComponents,
      },
    )
  return { className, components, options }
}

/** `undefined` for what is an option and no component. */
function componentClass(value: JsonValue): ComponentClass | null | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined
  const [library, className] = value as readonly JsonValue[]
  if (library === null || className === null) return null
  if (typeof library !== 'string' || typeof className !== 'string') return undefined
  return { library: library.slice(0, 200), className: className.slice(0, 200) }
}
