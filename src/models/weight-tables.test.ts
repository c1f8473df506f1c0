/**
 * The full-size published models: each table of fixtures/weight-tables is accepted by the graph that its config gives, every parameter
 * used once and none missing, in both granularities and both types to compute in.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Config, TensorEntry } from '../checkpoint/types.js'
import type { ComponentGraph, WriteOptions } from '../onnx/types.js'
import { autoencoderKLDecoder, autoencoderKLEncoder } from './autoencoders/autoencoder-kl.js'
import { clipTextModel } from './text-encoders/clip-text-model.js'
import { matchWeights, type NetworkClass } from './match-weights.js'
import { sd3Transformer2DModel } from './transformers/transformer-sd3.js'
import { t5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { fixtures, readJson } from './testing.node.js'
import { unet2DConditionModel } from './unets/unet-2d-condition.js'
import { elementCount } from '../util/element-count.js'

const folder = join(fixtures, 'weight-tables')
const source = { byteLength: 0, read: () => Promise.reject(new Error('There are no bytes')) }

interface Published {
  readonly _class_name: NetworkClass
  readonly config: Config
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

function write(className: NetworkClass, config: Config, options: WriteOptions): ComponentGraph[] {
  switch (className) {
    case 'CLIPTextModel':
    case 'CLIPTextModelWithProjection':
      return [clipTextModel(className, config, { batch: 2, sequenceLength: 77 }, options)]
    case 'UNet2DConditionModel':
      return [unet2DConditionModel(config, { batch: 2, height: 128, width: 128, sequenceLength: 77 }, options)]
    case 'T5EncoderModel':
      return [t5EncoderModel(config, { batch: 2, sequenceLength: 256 }, options)]
    case 'SD3Transformer2DModel':
      return [sd3Transformer2DModel(config, { batch: 2, height: 128, width: 128, sequenceLength: 333 }, options)]
    case 'AutoencoderKL':
      return [
        autoencoderKLEncoder(config, { batch: 1, height: 1024, width: 1024 }, options),
        autoencoderKLDecoder(config, { batch: 1, height: 128, width: 128 }, options),
      ]
  }
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
    const graphs = write(published._class_name, published.config, { dtype, weights: 'input', granularity })
    const matched = matchWeights(published._class_name, graphs, table)
    expect(matched.unexpected).toEqual([])
    expect(
      matched.unused.map(({ name }) => name).filter((name) => !/token_embedding|position_ids|^shared|^pos_embed/.test(name)),
    ).toEqual([])
    const used = matched.graphs.flatMap((graph) => graph.stages.flatMap((stage) => Object.values(stage.weights)))
    expect(used.length + matched.unused.length).toBe(table.size)
  })
})
