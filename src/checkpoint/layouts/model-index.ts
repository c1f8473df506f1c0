/**
 * `model_index.json`, the file in which diffusers lists the components of a pipeline. Parsing and checks of form only: pipelines decide
 * whether they can run the classes that it names.
 */

import { CheckpointError, UnsupportedError } from '../../errors.js'
import { type JsonObject, type JsonValue } from '../../util/parse-json.js'
import type { CheckpointNote, Config } from '../types.js'
import { withoutDefaulted } from '../read-config.js'
import type { ComponentClass } from './layout.js'

const maxComponents = 100

/** The content of model_index.json. */
export interface ModelIndex {
  /** The pipeline's class, such as `StableDiffusionXLPipeline`. */
  readonly className: string
  /** Component name, which is also the name of its folder → its class; null for an optional component that the pipeline lacks. */
  readonly components: ReadonlyMap<string, ComponentClass | null>
  /** The pipeline's own options, such as `force_zeros_for_empty_prompt`. */
  readonly options: Config
  /** Notes about components that are left out, because their names are not plain words. */
  readonly notes: readonly CheckpointNote[]
}

/** Sorts the keys of model_index.json into class, components and options. @throws CheckpointError `model-index-*`; UnsupportedError `unsupported-class` */
export function parseModelIndex(json: JsonObject): ModelIndex {
  const file = 'model_index.json'
  const className = json._class_name
  if (Array.isArray(className)) throw ownCode(className, file)
  if (typeof className !== 'string' || !/^[A-Za-z_]\w{0,127}$/.test(className))
    throw new CheckpointError('model-index-class', `_class_name in ${file} is not the name of a pipeline.`, { file })
  const components = new Map<string, ComponentClass | null>()
  const odd: string[] = []
  const options: Record<string, JsonValue> = {}
  for (const [key, value] of Object.entries(withoutDefaulted(json).config)) {
    if (key.startsWith('_')) continue
    const component = componentClass(value)
    if (component === undefined) {
      options[key] = value
      continue
    }
    // The name becomes a folder's path, so only plain words are accepted. Every pipeline of diffusers names its components so.
    if (/^[A-Za-z]\w{0,63}$/.test(key)) components.set(key, component)
    else odd.push(key.slice(0, 100))
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
  const notes = odd.slice(0, maxComponents).map((name) => ({
    code: 'component-unknown',
    message: `${file} has ${JSON.stringify(name)}, which is no component's name; it is ignored.`,
    values: { [name]: 'ignored' },
  }))
  return { className, components, options, notes }
}

/** The error for a pipeline that diffusers would load with Python code of the repository. `className`: the names of the code's file and of the class. */
function ownCode(className: readonly JsonValue[], file: string): UnsupportedError {
  const shown = JSON.stringify(className).slice(0, 200)
  return new UnsupportedError(
    'unsupported-class',
    `_class_name in ${file} is ${shown}: the pipeline has Python code of its own in the repository, which Aquatint does not run.`,
    { component: 'pipeline', className: shown },
  )
}

/** The class of a component, null for an absent component, undefined for a value that is one of the pipeline's options. */
function componentClass(value: JsonValue): ComponentClass | null | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined
  const [library, className] = value as readonly JsonValue[]
  if (library === null || className === null) return null
  if (typeof library !== 'string' || typeof className !== 'string') return undefined
  return { library: library.slice(0, 200), className: className.slice(0, 200) }
}
