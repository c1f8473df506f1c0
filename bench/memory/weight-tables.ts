/** Reads the full-size published models of fixtures/weight-tables: their parameters' names and shapes, as tables without bytes. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Config, SafetensorsDType, TensorEntry } from '../../src/checkpoint/types.js'
import { networkDefinition } from '../../src/models/registry.js'
import type { NetworkDefinition } from '../../src/models/types.js'
import type { Network } from '../../src/pipelines/bind-network.js'
import { families } from '../../src/pipelines/families.js'
import type { PipelineSpec } from '../../src/pipelines/pipeline-spec.js'

interface Published {
  readonly _class_name: string
  readonly config: Config
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

/** Returns a published model by the name of its table. */
export function publishedModel(table: string): Published {
  const path = fileURLToPath(new URL(`../../fixtures/weight-tables/${table}.json`, import.meta.url))
  return JSON.parse(readFileSync(path, 'utf8')) as Published
}

/** The network class that a pipeline class uses for a component. For a language model, this may be a class that runs fewer layers. */
function definitionIn(pipeline: string | undefined, component: string, className: string): NetworkDefinition {
  const networks: PipelineSpec['networks'] = families.find((family) => family.className === pipeline)?.networks ?? {}
  return networks[component]?.find((definition) => definition.className === className) ?? networkDefinition(className)
}

/**
 * Returns the model as a network whose tensors have no bytes, for plans. `pipeline`: the class of the pipeline that uses the model, if this
 * class decides which of the model's tensors are used.
 */
export function publishedNetwork(name: string, table: string, dtype: SafetensorsDType, pipeline?: string): Network {
  const { _class_name: className, config, tensors } = publishedModel(table)
  const source = { byteLength: 0, read: () => Promise.reject(new Error('A plan reads no weights')) }
  const size = dtype === 'F32' ? 4 : 2
  const entries = Object.entries(tensors).map(([tensor, shape]): [string, TensorEntry] => {
    const end = shape.reduce((count, dim) => count * dim, size)
    return [tensor, { name: tensor, shape, dtype, source, begin: 0, end }]
  })
  const model = definitionIn(pipeline, name, className).fromConfig(config)
  const used = entries.filter(([tensor]) => model.weights.skipped?.patterns.some((pattern) => pattern.test(tensor)) !== true)
  return { name, model, table: new Map(used), repo: table }
}
