/**
 * Matches the graphs of full-size published models with the weight tables of fixtures/weight-tables. No parameter is missing in a table, no
 * graph uses a tensor twice, and each unused tensor is known to be unused. This holds for both granularities and both types to compute in.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Config, TensorEntry } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { matchWeights } from './match-weights.js'
import { networkDefinition } from './registry.js'
import { graphFor, type TestSize } from './testing.js'
import type { GraphVariant, NetworkDefinition } from './types.js'
import { fixtures, readJson } from './testing.node.js'
import { elementCount } from '../util/element-count.js'

const folder = join(fixtures, 'weight-tables')
const source = { byteLength: 0, read: () => Promise.reject(new Error('There are no bytes')) }

interface Published {
  readonly _class_name: string
  readonly config: Config
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

/** The sizes that graphs are written for. An autoencoder's are in pixels of the input of its encoder or decoder. */
const sizes = {
  'text-encoder': [{ batch: 2, sequenceLength: 77 }],
  denoiser: [{ batch: 2, height: 128, width: 128, sequenceLength: 333 }],
  autoencoder: [
    { batch: 1, height: 1024, width: 1024, part: 'encoder' },
    { batch: 1, height: 128, width: 128 },
  ],
} as const

function write(definition: NetworkDefinition, config: Config, options: WriteOptions): ComponentGraph[] {
  const runs: readonly (TestSize & GraphVariant)[] = sizes[definition.role]
  return runs.map(({ part, ...size }) => graphFor(definition, config, size, options, { part }))
}

describe.each(readdirSync(folder))('%s', (file) => {
  const published = readJson(join(folder, file)) as unknown as Published
  const table = new Map<string, TensorEntry>(
    Object.entries(published.tensors).map(([name, shape]) => [
      name,
      { name, shape, dtype: 'F16', source, begin: 0, end: 2 * elementCount(shape) },
    ]),
  )

  test.each([
    ['component', 'float16'],
    ['component', 'float32'],
    ['block', 'float16'],
    ['block', 'float32'],
  ] as const)('is accepted with granularity %s, computed in %s', (granularity, dtype) => {
    const definition = networkDefinition(published._class_name)
    const graphs = write(definition, published.config, { dtype, weights: 'input', granularity })
    const matched = matchWeights(definition, graphs, table)
    expect(matched.unexpected).toEqual([])
    expect(
      matched.unused
        .map(({ name }) => name)
        .filter(
          (name) =>
            !/token_embedding|position_ids|^shared|embed_tokens|^lm_head|^x_pad_token|^pos_embed|^bn\.num_batches/.test(name),
        ),
    ).toEqual([])
    // An autoencoder's encoder and decoder may use the same tensor, which counts once.
    const used = new Set(matched.graphs.flatMap((graph) => graph.stages.flatMap((stage) => Object.values(stage.weights))))
    expect(used.size + matched.unused.length).toBe(table.size)
  })
})
