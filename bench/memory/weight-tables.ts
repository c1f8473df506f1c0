/** Reads the full-size published models of fixtures/weight-tables: their parameters' names and shapes, as tables without bytes. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Config, SafetensorsDType, TensorEntry } from '../../src/checkpoint/types.js'
import { networkDefinition } from '../../src/models/registry.js'
import type { Network } from '../../src/pipelines/bind-network.js'

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

/** Returns the model as a network whose tensors have no bytes, for plans. */
export function publishedNetwork(name: string, table: string, dtype: SafetensorsDType): Network {
  const { _class_name: className, config, tensors } = publishedModel(table)
  const source = { byteLength: 0, read: () => Promise.reject(new Error('A plan reads no weights')) }
  const size = dtype === 'F32' ? 4 : 2
  const entries = Object.entries(tensors).map(([tensor, shape]): [string, TensorEntry] => {
    const end = shape.reduce((count, dim) => count * dim, size)
    return [tensor, { name: tensor, shape, dtype, source, begin: 0, end }]
  })
  return { name, model: networkDefinition(className).fromConfig(config), table: new Map(entries), repo: table }
}
